"""The jobs that a request means: their handles, or conditions that select them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import NAME, SECONDS, Schema, list_of, or_null
from gearman_manager.api.pages import PAGING, cursor_of, position_of
from gearman_manager.control.server_jobs import ServerJobs, conditions_of
from gearman_manager.errors import ManagerError

#: The conditions that have texts.
TEXTS: Final = ("function", "tag", "key")
#: The states of jobs.
STATES: Final = ("waiting", "delayed", "running", "stopping", "cancelled", "ended")
#: In a query.
CONDITIONS: Final[Mapping[str, Schema]] = {**dict.fromkeys(TEXTS, NAME), "older": SECONDS, **PAGING}
_HANDLE: Final = "[!-<>-~]{1,64}"
HANDLES: Final[Schema] = {**list_of({"type": "string", "pattern": f"^{_HANDLE}$"}), "minItems": 1}
#: In a body.
CHOICE: Final[Mapping[str, Schema]] = {**dict.fromkeys(TEXTS, or_null(NAME)), "older": or_null(SECONDS)}


def page(jobs: ServerJobs, family: str) -> ResponseReturnValue:
    """The page of a list for which the request asks."""
    conditions = {name: value for name, value in request.args.items() if name != "cursor"}
    position = position_of(request.args.get("cursor"), "server", "after")
    found = jobs.page(family, {**conditions, **position})
    return jsonify(found | {"next": cursor_of(found["next"])})


def handles_of(body: Mapping[str, Any]) -> list[str]:
    """The handles in a body.

    Raises:
        ManagerError: there is none, or something else.
    """
    handles = body.get("handles")
    if not isinstance(handles, list) or not handles or not all(_is_handle(handle) for handle in handles):
        raise ManagerError("handles: a list of job handles is expected")
    return handles


def chosen_by(body: Mapping[str, Any]) -> list[str]:
    """The conditions in a body, as words of a text command.

    Raises:
        ManagerError: one has another form.
    """
    texts, older_s = {name: body[name] for name in TEXTS if body.get(name) is not None}, body.get("older")
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ManagerError(f"{name}: text is expected, not {text!r}")
    if older_s is not None and not is_seconds(older_s):
        raise ManagerError(f"older: a number of seconds from 0 up is expected, not {older_s!r}")
    return conditions_of(texts, older_s)


def _is_handle(handle: object) -> bool:
    return isinstance(handle, str) and re.fullmatch(_HANDLE, handle) is not None


def is_seconds(value: object) -> bool:
    """Whether it is a number from 0 up."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0
