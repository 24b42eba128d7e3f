"""Reads and writes the store's database over one connection. It knows transactions, but neither threads nor the loop.

Only one thread at a time may use a `Database`; only `break_off` may be called from any thread.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NoReturn

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from gearman_server.errors import OwnershipLostError, StartError, StoreError
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.job import NORMAL, Job
from gearman_server.jobs.kept_results import KeptResult
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.jobs.store import first_number
from gearman_server.stores.backends import backend_of
from gearman_server.stores.batch import Batch, number_of, row_id, workload_bytes
from gearman_server.stores.changes import change, count_losses, delete_jobs
from gearman_server.stores.engine import connect, engine_of, is_about_data, is_full, is_half_written, reason_of, shown
from gearman_server.stores.letters_table import read_letters
from gearman_server.stores.migrations import migrate, read_meta, write_meta
from gearman_server.stores.ownership import holder_of, this_process, wait_to_own
from gearman_server.stores.reading import StoredRows
from gearman_server.stores.results_table import read_results
from gearman_server.stores.rows import FULL, QUEUED, Row, plain_of, row_of
from gearman_server.stores.schedules_table import read_marks

#: Numbers that are reserved at once: enough to give out handles for hours while the database is away.
NUMBERS_RESERVED: Final = 1_000_000_000

#: Where a lock can't be trusted, a write looks this often whether another server has owned the store.
EPOCH_EVERY_S: Final = 0.5

#: The row that tests whether a store in trouble can be written again.
_PROBE_ID: Final = -1
_PROBE_BYTES: Final = 1 << 16

_THE_STORE: Final = "the store"

#: Rows deleted in one transaction: more could take so long that submitters behind them give up.
DELETES_AT_ONCE: Final = 20_000
#: On a full disk: the log has little room.
DELETES_WHEN_SHORT: Final = 20

#: Adds rows; returns the jobs that are refused.
Insert = Callable[[Connection, Sequence[Job]], list[Job]]


class Database:
    """The database of a store, owned by this server once it is open."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self.name = shown(url)
        self._backend = backend_of(url)
        self._engine = engine_of(url, self._backend, _THE_STORE, timeout_s)
        self._connection: Connection | None = None
        #: Whether a transaction that fails now may have been committed all the same.
        self._is_committing = False
        self._epoch_read_at = float("-inf")
        #: Whether the last failure was a full disk.
        self._is_short = False
        #: Whether the last look said that a commit would be lost.
        self._is_misplaced = False
        #: The number of times that a server has owned the store, this one included.
        self._epoch = 0

    # --- start and end

    def open(self) -> None:
        """Become the owner, and bring the schema up to date.

        Raises:
            StartError: it can't be reached or written, or another server owns it.
        """
        try:
            self._backend.open()
            connection = self._connection = connect(self._engine, _THE_STORE)
            wait_to_own(self._backend, connection, self.name)
            migrate(connection, self.name)
            self._epoch = int(read_meta(connection, "epoch") or 0) + 1
            write_meta(connection, "epoch", str(self._epoch))
            write_meta(connection, "owner", this_process())
            connection.commit()
            count_losses(connection)
            self._backend.begin_ownership(connection.connection.driver_connection)
        except (DBAPIError, OSError, StoreError) as error:
            raise StartError(f"the store {self.name} can't be used: {self._reason_of(error)}") from error

    def close(self) -> None:
        """Give the ownership up."""
        self._drop_connection()
        self._backend.disown()
        self._engine.dispose()

    def break_off(self) -> None:
        """Make a call that waits for the database fail now. For another thread."""
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
        self._backend.note_closed()

    def _connected(self) -> Connection:
        """The connection. If it is gone, a new one, but only if no other server has owned the store meanwhile."""
        if self._connection is None:
            connection = self._connection = self._engine.connect()
            if not self._backend.own(connection):
                raise StoreError(f"another session owns it: {holder_of(connection)}", is_lost=True)
            self._check_epoch(read_meta(connection, "epoch"))
            connection.commit()
        return self._connection

    def _check_epoch(self, found: str | None) -> None:
        if int(found or 0) != self._epoch:
            raise OwnershipLostError("another gearman-server has owned the store in the meantime")
        self._epoch_read_at = time.monotonic()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction, all of it or nothing.

        Raises:
            StoreError: it was not committed, or it is unknown whether it was.
        """
        with self._in_use() as connection, connection.begin():
            yield connection
            self._is_committing = True

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[Connection]:
        """The connection. It is not used again after an error."""
        self._is_committing = False
        try:
            yield self._connected()
        except (DBAPIError, StoreError) as error:
            self._give_up(error)

    def _give_up(self, error: DBAPIError | StoreError) -> NoReturn:
        """Drop the connection after this error, and raise it as a StoreError."""
        if isinstance(error, StoreError):
            self._is_short = True  # if it was for room, the next attempt needs less
            self._drop_connection()
            raise error
        is_lost = self._connection is None or error.connection_invalidated
        self._is_short = is_full(error)
        raise_as = StoreError(
            self._reason_of(error),
            is_lost=is_lost,
            is_about_data=not is_lost and is_about_data(error),
            # A database that still answers has rolled the transaction back.
            is_unknown=self._is_committing and (is_lost or is_half_written(error)),
        )
        self._drop_connection()
        raise raise_as from error

    def _reason_of(self, failure: DBAPIError | OSError | StoreError) -> str:
        obstacle = self._backend.obstacle() if isinstance(failure, OperationalError) else None
        return f"{reason_of(failure)}: {obstacle}" if obstacle is not None else reason_of(failure)

    def stored_rows(self, end: int) -> StoredRows:
        """The jobs with ids below `end`, over a connection of their own, for another thread."""
        return StoredRows(self._engine, self._backend, end)

    # --- writing

    def reserve_numbers(self) -> range:
        """Numbers that are never given out again, not even by another store, nor after this one was replaced by an old
        copy of itself.

        Raises:
            StoreError: they could not be reserved.
        """
        with self._transaction() as connection:
            new = first_number(time.time(), random.random())
            first = max(int(read_meta(connection, "next_number") or 1), new)
            write_meta(connection, "next_number", str(first + NUMBERS_RESERVED))
        return range(first, first + NUMBERS_RESERVED)

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
        """The marks of the schedules.

        Raises:
            StoreError: they can't be read.
        """
        with self._transaction() as connection:
            return read_marks(connection)

    def write(self, batch: Batch, *, is_repeated: bool) -> Sequence[Job]:
        """Commit a batch. Returns the jobs whose insert the database refuses because of their contents.

        Raises:
            StoreError: none of the changes still in the batch is known to be committed.
        """
        if self._is_misplaced:
            self._check()
        if self._is_short and self._connection is not None:
            self._backend.empty_log(self._connection.connection.driver_connection)
        if not batch:
            self._probe()
        refused = self._write_all(batch, is_repeated=is_repeated)
        self._is_short = False
        try:
            self._backend.check(is_brief=True)
        except StoreError as error:
            error.is_unknown = not self._undo(batch)
            self._is_misplaced = True
            raise
        return refused

    @property
    def wants_looks(self) -> bool:
        """Whether `look` may find out what no write would."""
        return self._backend.wants_looks

    def look(self) -> Sequence[Job]:
        """Check that the next start will find what is committed. Returns no jobs.

        Raises:
            StoreError: it will not.
        """
        self._check()
        return ()

    def _check(self) -> None:
        """Check that a commit would not be lost. If it would, the next attempt tries to change that."""
        try:
            self._backend.check()
        except StoreError:
            connection = self._connection if self._is_misplaced else None
            self._is_misplaced = True
            if connection is None or not self._backend.repair(connection.connection.driver_connection):
                raise
            self._drop_connection()
        self._is_misplaced = False

    def _undo(self, batch: Batch) -> bool:
        """Take back the inserts of a batch. False: they may still be there."""
        try:
            with self._transaction() as connection:
                delete_jobs(connection, [row_id(job) for job in batch.inserts])
        except StoreError:
            return False
        return True

    def _write_all(self, batch: Batch, *, is_repeated: bool) -> Sequence[Job]:
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
        """If there are very many deletes, carry out most of them beforehand, and remove them from the batch.

        A batch that was broken off because it took too long then has less to do when it is repeated; otherwise it would
        never finish. The rows of jobs whose letters or results are in the batch must go in its own transaction.
        """
        at_once = DELETES_WHEN_SHORT if self._is_short else DELETES_AT_ONCE
        if len(batch.deletes) <= at_once:
            return
        kept = {number_of(handle) for handle in (*batch.letters, *batch.results)}
        last = [number for number in batch.deletes if number in kept]
        batch.deletes = [*last, *(number for number in batch.deletes if number not in kept)]
        while len(batch.deletes) - len(last) > at_once:
            with self._transaction() as connection:
                delete_jobs(connection, batch.deletes[-at_once:])
            del batch.deletes[-at_once:]

    def _write(self, deletes: Sequence[int], inserts: Sequence[Job], batch: Batch, insert: Insert) -> list[Job]:
        """Write deletes, inserts and the other changes of a batch in one transaction."""
        with self._transaction() as connection:
            if self._backend.is_lock_weak and time.monotonic() > self._epoch_read_at + EPOCH_EVERY_S:
                self._check_epoch(read_meta(connection, "epoch"))
            delete_jobs(connection, deletes)
            if inserts:
                self._backend.check_room(connection, workload_bytes(inserts))
            refused = insert(connection, inserts) if inserts else []
            change(connection, batch, self._backend.room_bytes())
        return refused

    def _insert_alone(self, jobs: Sequence[Job]) -> bool:
        """Insert by a single statement, which is its own transaction. False: these jobs need more than one."""
        size_bytes = workload_bytes(jobs)
        if len(plain_of(jobs)) < len(jobs) or not self._backend.is_atomic(jobs, size_bytes):
            return False
        self._is_committing = False
        try:  # what `_in_use` does, whose generator is noticed in a commit of one job
            connection = self._connected()
            self._backend.check_room(connection, size_bytes)
            self._is_committing = True
            self._backend.insert_plain(connection, jobs, time.time() - time.monotonic())
        except (DBAPIError, StoreError) as error:
            self._give_up(error)
        return True

    def _insert(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        offset_s = time.time() - time.monotonic()
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
        """Halve the jobs until those that can't be stored are alone, so that only these are refused."""
        try:
            with connection.begin_nested():
                return self._insert(connection, jobs)
        except DBAPIError as error:
            if not is_about_data(error):
                raise
        if len(jobs) == 1:
            return list(jobs)
        half = len(jobs) // 2
        return [*self._insert_in_parts(connection, jobs[:half]), *self._insert_in_parts(connection, jobs[half:])]

    def insert_rows(self, chunks: Iterable[Sequence[Row]]) -> None:
        """Commit rows from another source, all or none.

        Raises:
            StoreError: none is committed.
        """
        with self._transaction() as connection:
            for rows in chunks:
                if rows:
                    self._backend.insert(connection, FULL, rows)

    def _probe(self) -> None:
        """Check that there is room: commit a row of some size, and delete it. No reader ever sees a row of this id."""
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
            self._backend.check_room(connection, _PROBE_BYTES)
            delete_jobs(connection, [_PROBE_ID])
            self._backend.insert(connection, FULL, [row])
        with self._transaction() as connection:
            delete_jobs(connection, [_PROBE_ID])
