"""Rows of tables that job servers send, as values by the names of their columns."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gearman_client import AdminClient
from gearman_client.text import unescaped
from gearman_manager.control.server_access import lines_of

Row = dict[str, Any]

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": (
        *("handle", "function", "state", "priority", "attempt", "age_s", "for_s", "bytes", "background", "unique"),
        "preview",
    ),
    "jobs/keys": ("key", "waiting", "running", "startable", "held_by", "opens_in_s"),
    "jobs/batches": (
        *("batch", "state", "jobs", "waiting", "complete", "failed", "expired", "cancelled", "stopped", "is_cancelled"),
        *("is_counting", "opened", "closed", "ended"),
    ),
    "dead": ("handle", "function", "priority", "attempts", "died", "bytes", "unique", "error", "preview"),
    "schedules": (
        *("schedule", "function", "next", "last_run", "timing", "priority", "missed", "unique", "last_handle"),
        "paused_at",
    ),
}
_WHOLE: Final = frozenset(
    {
        *("attempt", "attempts", "bytes", "failures", "losses", "clients", "waiting", "running", "startable"),
        *("jobs", "complete", "failed", "expired", "cancelled", "stopped"),
    }
)
_FLAGS: Final = frozenset({"background", "is_cancelled", "is_counting"})
_SECONDS: Final = frozenset(
    {
        "age_s",
        "for_s",
        "died",
        "submitted",
        "since",
        "first_attempt",
        "last_attempt",
        "not_before",
        "paused_at",
        "expires",
        "opens_in_s",
        "next",
        "last_run",
        *("opened", "closed", "ended"),
    }
)
#: Fields with several values.
_SEVERAL: Final = frozenset({"tags", "options", "headers"})


def row_of(cells: Iterable[tuple[Any, bytes]]) -> Row:
    """The values of these columns."""
    row: Row = {}
    for name, cell in cells:
        if name in _WHOLE:
            row[name] = int(cell)
        elif name in _SECONDS:
            row[name] = float(cell) if cell else None
        elif name in _FLAGS:
            row[name] = cell == b"1"
        elif name in ("preview", "workload", "data"):
            row[name] = cell.decode(errors="replace")  # still escaped, since people read it
        elif name in _SEVERAL:
            texts = [text.decode(errors="replace") for text in unescaped(cell).split(b"\0")] if cell else []
            row[name] = texts if name == "tags" else dict(text.split("=", 1) for text in texts)
        else:
            row[name] = unescaped(cell).decode(errors="replace")
        if name == "workload":
            row["workload_base64"] = base64.b64encode(unescaped(cell)).decode()
    return row


def details_of(lines: Iterable[bytes]) -> Row:
    """The values in an answer that has a line for each."""
    pairs = (line.split(b"\t", 1) for line in lines)
    return row_of((name.decode(), value) for name, value in pairs)


def table_page(admin: AdminClient, family: str, command: str) -> tuple[list[Row], str | None]:
    """The rows of a page of a list, as the server tells of them, and the cursor of the next page, if there is one.

    Raises:
        AdminError: the server refuses.
    """
    cells = [line.split(b"\t") for line in lines_of(admin.command(command))]
    cursor = cells.pop()[1].decode() if cells and len(cells[-1]) == 2 else None
    return [row_of(zip(COLUMNS[family], row, strict=True)) for row in cells], cursor
