"""Reads stored jobs: page by page in the order of their age, or those that a request names. Changes nothing.

Nothing in the schema helps to find a unique key: an index would cost every insert, and a key is looked for only while
the server starts. So many keys are looked for in one pass over the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, LargeBinary, and_, column, or_, select, table
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ColumnElement

from gearman_server.errors import StoreError
from gearman_server.replay import StoredJob, Wanted
from gearman_server.stores.backends import JOBS, Backend
from gearman_server.stores.reasons import reason_of
from gearman_server.stores.rows import COLUMNS, OWNER, stored_job

#: Rows in a page: what the loop takes in at once, in about a millisecond.
PAGE_ROWS: Final = 500
_KEYS_PER_QUERY: Final = 500
_WORKLOADS_PER_QUERY: Final = 20

_BYTES: Final = {"handle", "function_name", "unique_key", "reducer", "last_error", "workload"}
_jobs: Final = table(
    JOBS, *(column(name, LargeBinary()) if name in _BYTES else column(name) for name in COLUMNS), column("owner")
)
_columns: Final = [_jobs.c[name] for name in COLUMNS]


class Page(NamedTuple):
    """Some rows."""

    jobs: Sequence[StoredJob]
    #: The ids of rows that are there but are no jobs, and why.
    unreadable: Sequence[tuple[int, str]]
    #: The last of the ids; None: there are no more rows.
    last_id: int | None


END: Final = Page((), (), None)


def _page(rows: Sequence[Row[Any]]) -> Page:
    jobs, unreadable = [], []
    for row in rows:
        try:
            jobs.append(stored_job(row))
        except (ValueError, TypeError) as failure:
            unreadable.append((int(row[0]), str(failure)))
    return Page(jobs, unreadable, int(rows[-1][0]))


class StoredRows:
    """The rows that an earlier run has left: those with ids below `end`."""

    def __init__(self, engine: Engine, backend: Backend, end: int) -> None:
        self._engine = engine
        self._backend = backend
        self._mine = and_(_jobs.c.owner == OWNER, _jobs.c.id < end)
        self._connection: Connection | None = None

    def page(self, priority: int, after_id: int) -> Page:
        """The next rows of a priority.

        Raises:
            StoreError: they can't be read now.
        """
        query = (
            select(*_columns)
            .where(self._mine, _jobs.c.priority == priority, _jobs.c.id > after_id)
            .order_by(_jobs.c.id)
            .limit(PAGE_ROWS)
        )
        rows = self._fetch(query)
        return _page(rows) if rows else END

    def look_up(self, wanted: Sequence[Wanted]) -> list[StoredJob]:
        """Those of the jobs that there are.

        Raises:
            StoreError: they can't be read now.
        """
        found: dict[int, StoredJob] = {}
        for condition in _conditions(wanted):
            for job in _page(self._fetch(select(*_columns).where(self._mine, condition))).jobs:
                found[job.id] = job
        return list(found.values())

    def are_there(self) -> bool:
        """Whether there is any.

        Raises:
            StoreError: they can't be read now.
        """
        return bool(self._fetch(select(_jobs.c.id).where(self._mine).limit(1)))

    def _fetch(self, query: Any) -> Sequence[Row[Any]]:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            rows = self._connection.execute(query).all()
            self._connection.rollback()  # an open transaction would keep old versions of rows alive
        except DBAPIError as failure:
            self.close()
            raise StoreError(reason_of(failure), is_lost=True) from failure
        return rows

    def break_off(self) -> None:
        """From another thread: whatever waits for the database fails now."""
        connection = self._connection
        with contextlib.suppress(Exception):  # it may be closing just now
            if connection is not None:
                self._backend.break_off(connection.connection.driver_connection)

    def close(self) -> None:
        """Let the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _conditions(wanted: Sequence[Wanted]) -> Iterator[ColumnElement[bool]]:
    """What finds all of them, in queries of a bounded size."""
    ids = [int(number) for want in wanted if (number := want.handle.rpartition(b":")[2]).isdigit() and len(number) < 19]
    for at in range(0, len(ids), _KEYS_PER_QUERY):
        yield _jobs.c.id.in_(ids[at : at + _KEYS_PER_QUERY])
    keys = list({want.unique for want in wanted if want.unique and want.workload is None})
    for at in range(0, len(keys), _KEYS_PER_QUERY):
        yield _jobs.c.unique_key.in_(keys[at : at + _KEYS_PER_QUERY])
    by_workload = [want for want in wanted if want.workload is not None]
    for at in range(0, len(by_workload), _WORKLOADS_PER_QUERY):
        yield or_(
            *(
                and_(
                    _jobs.c.unique_key == want.unique,
                    _jobs.c.function_name == want.function,
                    _jobs.c.workload == want.workload,
                )
                for want in by_workload[at : at + _WORKLOADS_PER_QUERY]
            )
        )
