"""Long lists come in pages. A page names the cursor of the next one, which only we can read. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
#: The `limit` if none is given.
DEFAULT_LIMIT: Final = 100
NO_CURSOR: Final = "cursor: the text under `next` of the page before is expected"


Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page of a list of which all is at hand: its rows, how many stand before them, how many there are in all, and
    the cursor of the next page."""

    rows: Sequence[Any]
    before: int
    count: int
    next: str | None


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


def stretch_of(rows: Iterable[Row], key: Callable[[Any], tuple[str, str]], cursor: str | None, limit: int) -> Stretch:
    """A page of rows in the order of their keys. What comes or goes meanwhile shifts none of the others.

    Raises:
        ManagerError: the cursor is none of ours.
    """
    ordered = sorted(rows, key=key)
    position, begin = position_of(cursor, "in", "after"), 0
    if position:
        try:
            begin = bisect_right(ordered, (position["in"], position["after"]), key=key)
        except KeyError as error:
            raise ManagerError(NO_CURSOR) from error
    shown = ordered[begin : begin + limit]
    following = None
    if begin + limit < len(ordered):
        within, after = key(shown[-1])
        following = cursor_of({"in": within, "after": after})
    return Stretch(shown, begin, len(ordered), following)


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
