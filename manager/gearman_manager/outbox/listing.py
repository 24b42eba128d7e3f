"""What an operator sees and changes of the outbox: its rows, and those that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, case, delete, func, or_, select, true, update

#: The bytes of a workload that are shown.
SHOWN_BYTES = 64


class Counts(NamedTuple):
    """The rows of the outbox, and the age in milliseconds of the oldest one that waits, by the program's clock."""

    waiting: int
    aside: int
    oldest_ms: int


def counts(connection: Connection, table: Table, now_ms: int) -> Counts:
    """How many rows there are."""
    is_waiting = table.c.is_aside == 0
    waiting, aside, oldest = connection.execute(
        select(
            func.count(case((is_waiting, 1))),
            func.count(case((table.c.is_aside != 0, 1))),
            func.min(case((and_(is_waiting, table.c.created_ms > 0), table.c.created_ms))),
        )
    ).one()
    return Counts(waiting, aside, max(0, now_ms - int(oldest)) if oldest else 0)


def rows_of(
    connection: Connection, table: Table, *, function: str | None, only_aside: bool, limit: int
) -> Sequence[dict[str, Any]]:
    """The rows in their order, without their workloads but for the first bytes of each."""
    columns = [column for column in table.c if column.name != "workload"]
    start = func.substr(table.c.workload, 1, SHOWN_BYTES).label("workload_start")
    found = select(*columns, func.length(table.c.workload).label("workload_bytes"), start).order_by(table.c.id)
    if function is not None:
        found = found.where(table.c.function_name == function)
    if only_aside:
        found = found.where(table.c.is_aside != 0)
    return [dict(row) for row in connection.execute(found.limit(limit)).mappings()]


def retry(connection: Connection, table: Table, ids: Sequence[int] | None, *, anywhere: bool) -> int:
    """Have rows that are set aside tried again; None: all of them. Returns how many.

    anywhere: also those that a job server may have already: they may go to another one, and become a second job.
    """
    row = table.c
    which = and_(row.is_aside != 0, true() if ids is None else row.id.in_(ids))
    values: dict[str, Any] = {"is_aside": 0, "due_ms": 0, "attempts": 0, "reason": None, "relay": None, "sent_ms": None}
    if anywhere:
        values["server"] = None
    else:
        which = and_(which, row.server.is_(None))
    return connection.execute(update(table).where(which).values(**values)).rowcount


def drop(connection: Connection, table: Table, ids: Sequence[int]) -> int:
    """Delete rows that are set aside. Returns how many."""
    return connection.execute(delete(table).where(table.c.is_aside != 0, table.c.id.in_(ids))).rowcount


def doubtful(connection: Connection, table: Table, ids: Sequence[int] | None) -> int:
    """How many of the rows that are set aside a job server may have already."""
    which = or_(true() if ids is None else table.c.id.in_(ids))
    found = select(func.count()).where(table.c.is_aside != 0, table.c.server.is_not(None), which)
    return connection.execute(found).scalar_one()
