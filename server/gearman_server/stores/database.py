"""A connection to the store's database and what is written through it. Knows transactions, not threads nor the loop.

One thread at a time uses a `Database`; only `break_off` may be called from any.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from gearman_server.errors import OwnershipLostError, StartError, StoreError
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.job import NORMAL, Job
from gearman_server.jobs.kept_results import KeptResult
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.log import NOTICE, logger
from gearman_server.stores.backends import Backend, backend_of
from gearman_server.stores.batch import Batch, number_of, row_id
from gearman_server.stores.changes import change, count_losses, delete_jobs
from gearman_server.stores.engine import connect, make_engine, reason_of, shown
from gearman_server.stores.kept import read_results
from gearman_server.stores.letters import read_letters
from gearman_server.stores.migrations import migrate, read_meta, write_meta
from gearman_server.stores.reading import StoredRows
from gearman_server.stores.rows import FULL, QUEUED, Row, plain_of, row_of
from gearman_server.stores.schedules import read_marks

#: How long a second server waits for the first one to end.
OWNER_PATIENCE_S: Final = 15.0
_OWNER_LOOKS_S: Final = 0.1
#: Numbers that are reserved at once: so many that handles go on for hours while the database is away.
NUMBERS_RESERVED: Final = 1_000_000_000

#: The row by which a store in trouble is asked whether it is well again.
_PROBE_ID: Final = -1
_PROBE_BYTES: Final = 1 << 16

_THE_STORE: Final = "the store"

#: Rows that go in one transaction: more would take so long that submitters might give up waiting behind them.
DELETES_AT_ONCE: Final = 20_000

#: Adds rows; returns the jobs that are refused.
Insert = Callable[[Connection, Sequence[Job]], list[Job]]


class Database:
    """The database of a store, owned by this server once it is open."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self.name = shown(url)
        self._backend = backend_of(url)
        self._engine = _engine(url, self._backend, timeout_s)
        self._connection: Connection | None = None
        #: How often the store has been owned by a server, this time included.
        self._epoch = 0

    # --- start and end

    def open(self) -> None:
        """Own it and bring its schema up to date.

        Raises:
            StartError: it can't be reached or written, or another server owns it.
        """
        try:
            connection = self._connection = connect(self._engine, _THE_STORE)
            self._wait_to_own(connection)
            migrate(connection, self.name)
            self._epoch = int(read_meta(connection, "epoch") or 0) + 1
            write_meta(connection, "epoch", str(self._epoch))
            write_meta(connection, "owner", _this_process())
            connection.commit()
            count_losses(connection)
        except (DBAPIError, OSError) as error:
            raise StartError(f"the store {self.name} can't be used: {self._reason_of(error)}") from error

    def _wait_to_own(self, connection: Connection) -> None:
        deadline = time.monotonic() + OWNER_PATIENCE_S
        is_told = False
        while not self._backend.own(connection):
            connection.rollback()
            if not is_told:
                is_told = True
                text = "the store %s belongs to another gearman-server (%s): waiting %d s at most for its end"
                logger.log(NOTICE, text, self.name, _holder(connection), OWNER_PATIENCE_S)
            if time.monotonic() > deadline:
                raise StartError(f"the store {self.name} belongs to another gearman-server: {_holder(connection)}")
            time.sleep(_OWNER_LOOKS_S)
        connection.commit()

    def close(self) -> None:
        """Give it up."""
        self._drop_connection()
        self._backend.disown()
        self._engine.dispose()

    def break_off(self) -> None:
        """From another thread: a call that waits for the database fails now."""
        connection = self._connection
        with contextlib.suppress(Exception):  # it may be closing just now
            if connection is not None:
                self._backend.break_off(connection.connection.driver_connection)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.invalidate()
            with contextlib.suppress(DBAPIError):
                connection.close()

    def _connected(self) -> Connection:
        """The connection; a new one when the old one is gone, and then only if nobody else has owned the store."""
        if self._connection is None:
            connection = self._connection = self._engine.connect()
            if not self._backend.own(connection):
                raise StoreError(f"another session owns it: {_holder(connection)}", is_lost=True)
            if int(read_meta(connection, "epoch") or 0) != self._epoch:
                raise OwnershipLostError("another gearman-server has owned the store in the meantime")
            connection.commit()
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction, all of it or nothing.

        Raises:
            StoreError: it could not be committed, or nobody knows whether it was.
        """
        with self._in_use() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[Connection]:
        """The connection; one that failed is not used again."""
        try:
            yield self._connected()
        except DBAPIError as error:
            is_lost = self._connection is None or error.connection_invalidated
            is_about_data = not is_lost and _is_about_data(error)
            self._drop_connection()
            raise StoreError(self._reason_of(error), is_lost=is_lost, is_about_data=is_about_data) from error
        except StoreError:
            self._drop_connection()
            raise

    def _reason_of(self, failure: DBAPIError | OSError) -> str:
        obstacle = self._backend.obstacle() if isinstance(failure, OperationalError) else None
        return f"{reason_of(failure)}: {obstacle}" if obstacle is not None else reason_of(failure)

    def stored_rows(self, end: int) -> StoredRows:
        """The jobs with ids below `end`, on a connection of their own that another thread can use."""
        return StoredRows(self._engine, self._backend, end)

    # --- writing

    def reserve_numbers(self) -> range:
        """Numbers that nobody else is ever given.

        Raises:
            StoreError: they could not be reserved.
        """
        with self._transaction() as connection:
            first = int(read_meta(connection, "next_number") or 1)
            write_meta(connection, "next_number", str(first + NUMBERS_RESERVED))
        return range(first, first + NUMBERS_RESERVED)

    def return_numbers(self, unused: range) -> None:
        """The rest of what was reserved last.

        Raises:
            StoreError: it is lost then, which does no harm.
        """
        with self._transaction() as connection:
            if int(read_meta(connection, "next_number") or 1) == unused.stop:
                write_meta(connection, "next_number", str(unused.start))

    def letters(self) -> list[DeadLetter]:
        """The letters of jobs that failed for good, the oldest first.

        Raises:
            StoreError: they can't be read.
        """
        with self._transaction() as connection:
            return read_letters(connection)

    def results(self) -> list[KeptResult]:
        """The results of background jobs, in the order of their ends.

        Raises:
            StoreError: they can't be read.
        """
        with self._transaction() as connection:
            return read_results(connection)

    def schedule_marks(self) -> dict[str, ScheduleMark]:
        """How far the schedules have come.

        Raises:
            StoreError: it can't be read.
        """
        with self._transaction() as connection:
            return read_marks(connection)

    def write(self, batch: Batch, *, is_repeated: bool) -> Sequence[Job]:
        """Commit a batch. Returns the jobs whose insert the database refuses for what they hold.

        Raises:
            StoreError: nothing of what the batch still holds is known to be committed.
        """
        if not batch:
            self._probe()
        self._delete_ahead(batch)
        inserts = list(batch.inserts)
        deletes = [*map(row_id, inserts), *batch.deletes] if is_repeated else batch.deletes
        try:
            if not deletes and batch.has_inserts_alone and self._insert_alone(inserts):
                return []
            return self._write(deletes, inserts, batch, self._insert)
        except StoreError as error:
            if not error.is_about_data or not inserts:
                raise
            return self._write(deletes, inserts, batch, self._insert_in_parts)

    def _delete_ahead(self, batch: Batch) -> None:
        """Of very many rows most go before the rest of the batch, and out of it: a batch that was broken off for its
        length has less to do when it is repeated, or it would be broken off for ever. Not those whose letters or
        results have to be there from the same moment on.
        """
        if len(batch.deletes) <= DELETES_AT_ONCE:
            return
        kept = {number_of(handle) for handle in (*batch.letters, *batch.results)}
        last = [number for number in batch.deletes if number in kept]
        batch.deletes = [*last, *(number for number in batch.deletes if number not in kept)]
        while len(batch.deletes) - len(last) > DELETES_AT_ONCE:
            with self._transaction() as connection:
                delete_jobs(connection, batch.deletes[-DELETES_AT_ONCE:])
            del batch.deletes[-DELETES_AT_ONCE:]

    def _write(self, deletes: Sequence[int], inserts: Sequence[Job], batch: Batch, insert: Insert) -> list[Job]:
        """One transaction: rows that go and come, and what else a batch changes."""
        with self._transaction() as connection:
            delete_jobs(connection, deletes)
            refused = insert(connection, inserts) if inserts else []
            change(connection, batch, self._backend.room_bytes())
        return refused

    def _insert_alone(self, jobs: Sequence[Job]) -> bool:
        """Insert by one statement, which is a transaction of its own. False: these jobs need more than one."""
        if len(plain_of(jobs)) < len(jobs) or not self._backend.is_atomic(jobs):
            return False
        with self._in_use() as connection:
            self._backend.insert_plain(connection, jobs, _offset_s())
        return True

    def _insert(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        offset_s = _offset_s()
        refused = self._backend.refused(connection.connection.driver_connection, jobs)
        if refused:
            jobs = [job for job in jobs if job not in refused]
        plain = plain_of(jobs)
        if plain:
            self._backend.insert_plain(connection, plain, offset_s)
        if len(plain) < len(jobs):
            are_plain = set(plain)
            rows = [row_of(job, offset_s) for job in jobs if job not in are_plain]
            self._backend.insert(connection, FULL, rows)
        return refused

    def _insert_in_parts(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        """Halve until those that can't be stored stand alone, so that they alone are refused."""
        try:
            with connection.begin_nested():
                return self._insert(connection, jobs)
        except DBAPIError as error:
            if not _is_about_data(error):
                raise
        if len(jobs) == 1:
            return list(jobs)
        half = len(jobs) // 2
        return [*self._insert_in_parts(connection, jobs[:half]), *self._insert_in_parts(connection, jobs[half:])]

    def insert_rows(self, chunks: Iterable[Sequence[Row]]) -> None:
        """Commit rows of another origin, all or none.

        Raises:
            StoreError: none is committed.
        """
        with self._transaction() as connection:
            for rows in chunks:
                if rows:
                    self._backend.insert(connection, FULL, rows)

    def _probe(self) -> None:
        """Commit a row of some size and take it away again: is there room? No reader ever sees a row of this id."""
        row: Row = (
            _PROBE_ID,
            QUEUED,
            NORMAL,
            0,
            0,
            None,
            0.0,
            b"probe",
            b"probe",
            b"",
            None,
            None,
            bytes(_PROBE_BYTES),
        )
        with self._transaction() as connection:
            delete_jobs(connection, [_PROBE_ID])
            self._backend.insert(connection, FULL, [row])
        with self._transaction() as connection:
            delete_jobs(connection, [_PROBE_ID])


def _engine(url: URL, backend: Backend, timeout_s: float) -> Engine:
    engine = make_engine(url, _THE_STORE, pool_reset_on_return=None, connect_args=backend.connect_options(timeout_s))

    @event.listens_for(engine, "connect")
    def prepare(driver_connection: Any, _record: Any) -> None:
        backend.prepare(driver_connection)

    event.listen(engine, "begin", backend.begin)
    return engine


def _is_about_data(failure: DBAPIError) -> bool:
    """Not where it is about the database, as with one that has become read-only: none of the jobs could be stored."""
    return isinstance(failure, DataError | IntegrityError) and not failure.connection_invalidated


def _offset_s() -> float:
    """What the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()


def _holder(connection: Connection) -> str:
    try:
        connection.rollback()
        with connection.begin():  # which ends here: it is the owner who has to write
            return read_meta(connection, "owner") or "one that is just starting"
    except DBAPIError:
        return "one that is just starting"


def _this_process() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    return f"process {os.getpid()} on {platform.node()[:128]}, since {since}"
