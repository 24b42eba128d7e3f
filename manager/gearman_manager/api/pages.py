"""Long lists come in pages. A page names the cursor of the next one, which only we can read. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gearman_manager.api.description import NAME, Schema, list_of, or_null
from gearman_manager.errors import ManagerError

#: The parameters of every list that comes in pages.
PAGING: Final[Mapping[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "how many at most"},
    "cursor": {**NAME, "description": "`next` of the page before"},
}
#: What may be there besides in a page of what job servers have.
_OF_SERVERS: Final[Mapping[str, Schema]] = {
    "missing": {"type": "string", "description": "why the jobs of a server are missing"},
    "looked": {"type": "integer", "minimum": 0, "description": "how many jobs of the server were looked at so far"},
    "of": {"type": "integer", "minimum": 0, "description": "of how many"},
}
NO_CURSOR: Final = "cursor: the text under `next` of the page before is expected"


def page_of(schema: Schema, **more: Schema) -> Schema:
    """The schema of a page: its rows under `jobs`, or the names in `more`, and `next`."""
    rows = more or {"jobs": list_of(schema)}
    return {
        "type": "object",
        "properties": {
            **rows,
            "next": or_null({**NAME, "description": "the cursor of the next page"}),
            **({} if more else _OF_SERVERS),
        },
        "required": [*rows, "next"],
    }


def cursor_of(position: Mapping[str, Any] | None) -> str | None:
    """The cursor of a position; None: there is no further page."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def cursor_before(rows: Sequence[Mapping[str, Any]], limit: int) -> str | None:
    """The cursor behind a page of rows with an `id`, the newest first; None: it was not full, so it is the last one."""
    return cursor_of({"before": str(rows[-1]["id"])}) if len(rows) == limit else None


def position_of(cursor: str | None, *keys: str) -> Mapping[str, str]:
    """The position of a cursor, texts by key; empty without a cursor.

    Raises:
        ManagerError: it is no cursor of ours.
    """
    if cursor is None:
        return {}
    try:
        position = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        position = None
    if not isinstance(position, dict) or not all(
        name in keys and isinstance(value, str) for name, value in position.items()
    ):
        raise ManagerError(NO_CURSOR)
    return position


def id_before(cursor: str | None) -> int | None:
    """The id before which the page of such a cursor goes on; None: at the newest.

    Raises:
        ManagerError: it is no cursor of ours.
    """
    before = position_of(cursor, "before").get("before")
    if before is None:
        return None
    if not (before.isascii() and before.isdecimal()) or len(before) > 18:
        raise ManagerError(NO_CURSOR)
    return int(before)
