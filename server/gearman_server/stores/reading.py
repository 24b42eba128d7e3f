"""Reads stored jobs: page by page in the order of their age, or those that a request names. Changes nothing.

The schema has no index for unique keys: it would cost every insert, and a key is looked for only while the server
starts. So one pass over the rows looks for many keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, LargeBinary, Select, and_, column, or_, select, table
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ColumnElement

from gearman_server.errors import StoreError
from gearman_server.jobs.store import StoredJob, Wanted
from gearman_server.stores.backend import Backend
from gearman_server.stores.backends import ONLY_READS
from gearman_server.stores.engine import is_locked, reason_of
from gearman_server.stores.rows import COLUMNS, JOBS, stored_job

if TYPE_CHECKING:
    AnyRow = Row[*tuple[Any, ...]]
    AnySelect = Select[*tuple[Any, ...]]


#: Rows in a page. The loop takes a page in at once, in about a millisecond.
PAGE_ROWS: Final = 500
#: Bytes of workloads after which a page ends early.
PAGE_BYTES: Final = 8 << 20
_ROWS_AT_ONCE: Final = 50
_KEYS_PER_QUERY: Final = 500
_WORKLOADS_PER_QUERY: Final = 20

_BYTES: Final = {"handle", "function_name", "unique_key", "reducer", "last_error", "options", "workload"}
_jobs: Final = table(
    JOBS, *(column(name, LargeBinary()) if name in _BYTES else column(name) for name in COLUMNS), column("owner")
)
_columns: Final = [_jobs.c[name] for name in COLUMNS]


class RowPage(NamedTuple):
    """A part of the rows."""

    jobs: Sequence[StoredJob]
    #: Rows that can't be used, each with the reason.
    unreadable: Sequence[tuple[str, str]]
    #: The last id; None: there are no more rows.
    last_id: int | None


END: Final = RowPage((), (), None)


class StoredRows:
    """An owner's rows of earlier runs: those with ids below `end`."""

    def __init__(self, engine: Engine, backend: Backend, owner: int, end: int) -> None:
        self._engine = engine
        self._backend = backend
        self._end = end
        # There is no lower bound here: SQLite would begin each page at it, instead of at the page's own.
        self._mine = and_(_jobs.c.owner == owner, _jobs.c.id < end)
        self._connection: Connection | None = None
        #: The cursors of the jobs, by their ids.
        self.cursors: Mapping[int, bytes] = {}

    def page(self, priority: int, after_id: int) -> RowPage:
        """The next rows of a priority.

        Raises:
            StoreError: they can't be read now.
        """
        if after_id >= self._end - 1:
            return END
        try:
            return self._page(self._fetch(self._after(priority, after_id).limit(PAGE_ROWS), PAGE_BYTES))
        except StoreError as error:
            if error.is_lost:
                raise
            return self._one_by_one(priority, after_id)

    def _after(self, priority: int, after_id: int, *columns: Any) -> AnySelect:
        return (
            select(*columns or _columns)
            .where(self._mine, _jobs.c.priority == priority, _jobs.c.id > after_id)
            .order_by(_jobs.c.id)
        )

    # --- around broken rows

    def _one_by_one(self, priority: int, after_id: int) -> RowPage:
        """Read the rows of a page one by one after it could not be read as a whole, to leave out only broken rows."""
        try:
            ids = [row[0] for row in self._fetch(self._ids_from(after_id + 1).limit(PAGE_ROWS))]
        except StoreError as error:
            if error.is_lost:
                raise
            first = self._first_id_from(after_id + 1)
            if first is None:
                return self._gap(after_id, str(error))
            ids = [first] if first < self._end else []
        return self._rows(ids, priority) if ids else END

    def _rows(self, ids: Sequence[int], priority: int) -> RowPage:
        """The rows with these ids that have the priority, or are broken."""
        jobs: list[StoredJob] = []
        unreadable: list[tuple[str, str]] = []
        for number in ids:
            try:
                page = self._page(self._fetch(select(*_columns).where(self._mine, _jobs.c.id == number)))
            except StoreError as error:
                if error.is_lost:
                    raise
                unreadable.append((f"row {number}", str(error)))
            else:
                jobs += [job for job in page.jobs if job.priority == priority]
                unreadable += page.unreadable
        return RowPage(jobs, unreadable, ids[-1])

    def _gap(self, after_id: int, reason: str) -> RowPage:
        """Leave out the rows up to the first whose id can be read, since not even the next id can be."""
        broken, step, first = after_id + 1, 1, None
        while first is None and broken < self._end:
            step *= 2
            first = self._first_id_from(after_id + step)
            broken = after_id + step if first is None else broken
        sound = after_id + step
        while first is not None and sound - broken > 1:
            middle = (broken + sound) // 2
            found = self._first_id_from(middle)
            broken, sound, first = (middle, sound, first) if found is None else (broken, middle, found)
        last_id = (first if first is not None else self._end) - 1
        return RowPage((), ((f"rows {after_id + 1} to {last_id}, as far as there are any", reason),), last_id)

    def _first_id_from(self, number: int) -> int | None:
        """The first id from this number up, or the end of all; None if a broken row comes before it."""
        try:
            rows = self._fetch(self._ids_from(number).limit(1))
        except StoreError as error:
            if error.is_lost:
                raise
            return None
        return int(rows[0][0]) if rows else self._end

    def _ids_from(self, number: int) -> AnySelect:
        """The ids of all priorities, because a broken row does not tell its own."""
        return select(_jobs.c.id).where(_jobs.c.id >= number, _jobs.c.id < self._end).order_by(_jobs.c.id)

    def look_up(self, wanted: Sequence[Wanted]) -> list[StoredJob]:
        """The wanted jobs that exist.

        Raises:
            StoreError: they can't be read now.
        """
        found: dict[int, StoredJob] = {}
        for condition in _conditions(wanted):
            for job in self._page(self._fetch(select(*_columns).where(self._mine, condition))).jobs:
                found[job.id] = job
        return list(found.values())

    def functions(self) -> frozenset[tuple[bytes, int]]:
        """The functions that have rows, with the rows' priorities.

        Raises:
            StoreError: they can't be read now.
        """
        query = select(_jobs.c.function_name, _jobs.c.priority).where(self._mine).distinct()
        return frozenset((bytes(row[0]), int(row[1])) for row in self._fetch(query))

    def has_rows(self) -> bool:
        """Whether there is any row, or something that can't be read.

        Raises:
            StoreError: nothing can be read now.
        """
        try:
            return bool(self._fetch(select(_jobs.c.id).where(self._mine).limit(1)))
        except StoreError as error:
            if error.is_lost:
                raise
            return True

    def _page(self, rows: Sequence[AnyRow]) -> RowPage:
        jobs, unreadable, cursors = [], [], self.cursors
        for row in rows:
            try:
                job = stored_job(row)
            except (ValueError, TypeError) as error:
                unreadable.append((f"row {row[0]}", str(error)))
                continue
            jobs.append(job._replace(cursor=cursors[job.id]) if job.id in cursors else job)
        return RowPage(jobs, unreadable, int(rows[-1][0]) if rows else None)

    def _fetch(self, query: AnySelect, max_bytes: int | None = None) -> list[AnyRow]:
        """The rows, until their workloads have more than `max_bytes`."""
        try:
            is_connected = False
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(
                    yield_per=_ROWS_AT_ONCE, **{ONLY_READS: True}
                )
            is_connected = True
            rows = []
            size_bytes = 0
            with self._connection.execute(query) as result:
                for row in result:
                    rows.append(row)
                    size_bytes += len(row[-1]) if max_bytes is not None else 0
                    if max_bytes is not None and size_bytes > max_bytes:
                        break
            self._connection.rollback()  # an open transaction would keep old versions of rows alive
        except DBAPIError as error:
            self.close()
            is_lost = not is_connected or error.connection_invalidated or is_locked(error)
            raise StoreError(reason_of(error), is_lost=is_lost) from error
        return rows

    def break_off(self) -> None:
        """Make a call that waits for the database fail now. For another thread."""
        connection = self._connection
        with contextlib.suppress(Exception):  # it may be closing just now
            if connection is not None:
                self._backend.break_off(connection.connection.driver_connection)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.close()


def _conditions(wanted: Sequence[Wanted]) -> Iterator[ColumnElement[bool]]:
    """The conditions that find all of them, in queries of a bounded size."""
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
