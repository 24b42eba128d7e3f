"""The body of a request to the control API: a JSON object with known keys, whatever its Content-Type says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest

from gearman_manager.errors import ManagerError


def json_body(*keys: str) -> Mapping[str, Any]:
    """The body's object.

    A key that is not among `keys` is refused: a condition with a slip of the pen would choose too much.

    Raises:
        ManagerError: it is none, or holds another key.
    """
    try:
        body = request.get_json(force=True)  # curl -d calls everything a form
    except BadRequest:
        body = None
    if not isinstance(body, dict):
        raise ManagerError(f"a JSON object is expected as the body, with {' and '.join(keys)}")
    unknown = [key for key in body if key not in keys]
    if unknown:
        raise ManagerError(f"{unknown[0]}: there is no such key; there {'are' if keys[1:] else 'is'} {', '.join(keys)}")
    return body
