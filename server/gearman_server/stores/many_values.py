"""Inserts of many rows in one statement, as ready text.

A statement per row holds the interpreter's lock twice as long (measured), and the server's loop needs this lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection

from gearman_server.stores.rows import JOBS, OWNER, Layout, Row

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

#: Bytes of rows in one statement: far below MySQL's max_allowed_packet, and no copy of a whole batch.
STATEMENT_BYTES: Final = 4 << 20
_MAX_ROWS: Final = 512

Item = TypeVar("Item")


class ManyValues:
    """INSERT with a list of VALUES: statements of 1, 2, 4 … rows, so that few texts serve every number of rows."""

    def __init__(self, placeholder: str, *layouts: Layout) -> None:
        self.statement_bytes = STATEMENT_BYTES
        self._placeholder, self._layouts = placeholder, layouts
        self.use_owner(OWNER)

    def use_owner(self, owner: int) -> None:
        self._texts = {layout: _texts(layout, self._placeholder, owner) for layout in self._layouts}

    def insert(self, connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
        texts = self._texts[layout]
        for chunk in chunks(rows, self._sizes(layout, rows), self.statement_bytes):
            at = 0
            while at < len(chunk):
                count = 1 << min(len(chunk) - at, _MAX_ROWS).bit_length() - 1
                connection.exec_driver_sql(texts[count], self._values(chunk[at : at + count]))
                at += count

    def _sizes(self, _layout: Layout, rows: Sequence[Row]) -> list[int]:
        return workload_sizes(rows)

    def _values(self, rows: Sequence[Row]) -> tuple[Any, ...]:
        return tuple(chain.from_iterable(rows))

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        return []

    def room_bytes(self) -> int | None:
        return None


def _texts(layout: Layout, placeholder: str, owner: int) -> dict[int, str]:
    """The statements, by their number of rows."""
    fixed = fixed_columns(layout, owner)
    values = f"({', '.join([*fixed.values(), *[placeholder] * len(layout.columns)])})"
    head = f"INSERT INTO {JOBS} ({', '.join([*fixed, *layout.columns])}) VALUES "
    return {1 << power: head + ", ".join([values] * (1 << power)) for power in range(_MAX_ROWS.bit_length())}


def fixed_columns(layout: Layout, owner: int) -> dict[str, str]:
    """What every row of the layout and the owner has, by columns."""
    fixed = dict.fromkeys(layout.zeros, "0")
    return fixed if owner == OWNER else {**fixed, "owner": str(owner)}  # it is the column's default


def workload_sizes(rows: Sequence[Row]) -> list[int]:
    return [len(row[-1]) for row in rows]


def chunks(rows: Sequence[Item], sizes: Sequence[int], statement_bytes: int) -> Iterator[Sequence[Item]]:
    """The rows in chunks of at most one statement's bytes; a single row can have more."""
    if sum(sizes) <= statement_bytes:
        yield rows
        return
    start = size_bytes = 0
    for at, row_bytes in enumerate(sizes):
        if size_bytes and size_bytes + row_bytes > statement_bytes:
            yield rows[start:at]
            start, size_bytes = at, 0
        size_bytes += row_bytes
    yield rows[start:]
