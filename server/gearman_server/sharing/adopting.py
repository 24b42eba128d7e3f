"""Rows of a dead server become ours: page by page, in transactions that hold our own fence.

All who live adopt at once: rows that another is just taking are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, column, select, table, text

from gearman_server.stores.reading import PAGE_BYTES, PAGE_ROWS
from gearman_server.stores.rows import COLUMNS, JOBS, LOST, OWNER_INDEX, RUNNING, conditions, stored_job

if TYPE_CHECKING:
    from gearman_server.jobs.store import StoredJob

_BYTES: Final = {"handle", "function_name", "unique_key", "reducer", "last_error", "options", "workload"}
_jobs: Final = table(
    JOBS, *(column(name, LargeBinary()) if name in _BYTES else column(name) for name in COLUMNS), column("owner")
)
_columns: Final = [_jobs.c[name] for name in COLUMNS]
_cursors: Final = table("gearman_cursors", column("id"), column("job_cursor", LargeBinary()))
#: Workloads can be large: so many rows are fetched at once.
_ROWS_AT_ONCE: Final = 100
_OWNERS: Final = text(f"SELECT MIN(owner) FROM {JOBS} WHERE owner > :after")


class Position(NamedTuple):
    """How far the adoption of a dead server's rows has come."""

    dead: int
    priority: int
    #: The id of the last row that was taken. The next page begins behind it: while somebody's transaction stays open,
    #: the database keeps what all pages before had, and would go through it once more for each page.
    after: int


class AdoptedPage(NamedTuple):
    """Jobs that are ours now."""

    jobs: Sequence[StoredJob]
    #: Rows that can't be used, each with the reason.
    unreadable: Sequence[tuple[str, str]]
    #: The ids of all of them.
    ids: Sequence[int]


def adopt(connection: Connection, position: Position, owner: int) -> AdoptedPage:
    """Take some rows of a dead server, the oldest of that priority behind those that were taken. None are left when the
    page is empty, but for those that others are taking. The transaction has to hold the owner's own fence."""
    dead = position.dead
    query = (
        select(*_columns)
        .where(_jobs.c.owner == dead, _jobs.c.priority == position.priority, _jobs.c.id > position.after)
        .order_by(_jobs.c.id)
        .limit(PAGE_ROWS)
        .with_hint(_jobs, f"FORCE INDEX ({OWNER_INDEX})", "mysql")  # else it begins at the first row all the same
        .with_for_update(skip_locked=True)
    )
    return _take(connection, _first_of(connection, query), dead, owner)


def read_own(connection: Connection, ids: Sequence[int], owner: int) -> AdoptedPage:
    """Those of the rows that are this owner's: what became of a page whose commit got no answer."""
    rows: list[Any] = []
    for at in range(0, len(ids), PAGE_ROWS):
        query = select(*_columns).where(_jobs.c.owner == owner, _jobs.c.id.in_(ids[at : at + PAGE_ROWS]))
        rows += connection.execute(query).all()
    return _page(connection, rows)


def next_owner(connection: Connection, after: int) -> int | None:
    """The first id above that which any row has as its owner."""
    found = connection.execute(_OWNERS, {"after": after}).scalar()
    return None if found is None else int(found)


def _first_of(connection: Connection, query: Any) -> list[Any]:
    """The rows, until their workloads have many bytes."""
    rows, size_bytes = [], 0
    with connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)) as result:
        for row in result:
            rows.append(row)
            size_bytes += len(row[-1])
            if size_bytes > PAGE_BYTES:
                break
    return rows


def _take(connection: Connection, rows: Sequence[Any], dead: int, owner: int) -> AdoptedPage:
    """A row that was running counts as a lost worker: the page tells it as it was, the row has it counted."""
    state = COLUMNS.index("state")
    lost = [int(row[0]) for row in rows if row[state] == RUNNING]
    others = [int(row[0]) for row in rows if row[state] != RUNNING]
    for condition in conditions(lost, dead):
        counted = f"owner = {owner}, state = {LOST}, requeues = requeues + 1"
        connection.exec_driver_sql(f"UPDATE {JOBS} SET {counted} WHERE {condition}")
    for condition in conditions(others, dead):
        connection.exec_driver_sql(f"UPDATE {JOBS} SET owner = {owner} WHERE {condition}")
    return _page(connection, rows)


def _page(connection: Connection, rows: Sequence[Any]) -> AdoptedPage:
    ids = [int(row[0]) for row in rows]
    cursors = {}
    if ids:
        query = select(_cursors.c.id, _cursors.c.job_cursor).where(_cursors.c.id.in_(ids))
        cursors = {int(number): bytes(cursor) for number, cursor in connection.execute(query)}
    jobs, unreadable = [], []
    for row in rows:
        try:
            job = stored_job(row)
        except (ValueError, TypeError) as error:
            unreadable.append((f"row {row[0]}", str(error)))
            continue
        jobs.append(job._replace(cursor=cursors[job.id]) if job.id in cursors else job)
    return AdoptedPage(jobs, unreadable, ids)
