"""Reads and writes the store's database over one connection. It knows transactions, but neither threads nor the loop.

Only one thread at a time may use a `Database`; only `break_off` may be called from any thread.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NoReturn, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from gearman_server.errors import StartError, StoreError
from gearman_server.jobs.job import NORMAL, Job
from gearman_server.jobs.store import first_number, number_of
from gearman_server.stores.backend import Backend
from gearman_server.stores.backends import backend_of
from gearman_server.stores.batch import Batch, row_id, workload_bytes
from gearman_server.stores.batches_table import count_and_delete
from gearman_server.stores.changes import change
from gearman_server.stores.engine import (
    connect,
    engine_of,
    is_about_data,
    is_collision,
    is_full,
    is_half_written,
    is_intact_after,
    reason_of,
    shown,
)
from gearman_server.stores.keys_table import delete_keys, submission_keys, write_keys
from gearman_server.stores.migrations import read_meta, write_meta
from gearman_server.stores.ownership import Ownership, SoleOwnership
from gearman_server.stores.reading import StoredRows
from gearman_server.stores.rows import FULL, Row, delete_rows, plain_of, row_of, waiting_row
from gearman_server.stores.small_tables import CursorsTable

#: Numbers that are reserved at once: enough to give out handles for hours while the database is away.
NUMBERS_RESERVED: Final = 1_000_000_000

#: What the row holds that tests whether a store in trouble can be written again.
_PROBE_BYTES: Final = 1 << 16

#: Rows deleted in one transaction: more could take so long that submitters behind them give up.
DELETES_AT_ONCE: Final = 20_000
#: On a full disk: the log has little room.
DELETES_WHEN_SHORT: Final = 20

Item = TypeVar("Item")

#: It gets the backend, and the name of the store for people.
MakeOwnership = Callable[[Backend, str], Ownership]

#: Adds rows; returns the jobs that are refused.
Insert = Callable[[Connection, Sequence[Job]], list[Job]]


class Database:
    """The database of a store, which this server owns, alone or with others, once it is open."""

    def __init__(self, url: URL, timeout_s: float, make_ownership: MakeOwnership = SoleOwnership) -> None:
        self.name = shown(url)
        self._backend = backend_of(url)
        self._ownership = make_ownership(self._backend, self.name)
        self.engine = engine_of(url, self._backend, timeout_s, self._ownership.connect_options())
        self._connection: Connection | None = None
        #: Whether a transaction that fails now may have been committed all the same.
        self._is_committing = False
        #: Whether the last failure was a full disk.
        self._is_short = False
        #: Whether the last look said that a commit would be lost.
        self._is_misplaced = False
        self.cursors = CursorsTable()

    @property
    def is_shared(self) -> bool:
        """Whether other servers use it at the same time."""
        return self._ownership.is_shared

    # --- start and end

    def open(self) -> None:
        """Become the owner, and bring the schema up to date.

        Raises:
            StartError: it can't be reached or written, or another server owns it.
        """
        try:
            self._backend.open()
            connection = self._connection = connect(self.engine, "the store")
            self._ownership.take(connection)
        except (DBAPIError, OSError, StoreError) as error:
            raise StartError(f"the store {self.name} can't be used: {self._reason_of(error)}") from error

    def close(self) -> None:
        """Give the ownership up."""
        self._drop_connection()
        self._ownership.release()
        self.engine.dispose()

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
        """The connection. If it is gone, a new one, but only if the store has not become another's meanwhile."""
        if self._connection is None:
            connection = self._connection = self.engine.connect()
            self._ownership.retake(connection)
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction that changes rows, all of it or nothing.

        Raises:
            StoreError: it was not committed, or it is unknown whether it was.
        """
        with self._in_use() as connection, connection.begin():
            self._ownership.begin(connection)
            yield connection
            self._is_committing = True

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[Connection]:
        """The connection. It is not used again after an error, unless that was a collision with another transaction."""
        self._is_committing = False
        try:
            yield self._connected()
        except (DBAPIError, StoreError) as error:
            self._give_up(error, keeps_connection=is_intact_after(error, self._connection))

    def _give_up(self, error: DBAPIError | StoreError, *, keeps_connection: bool = False) -> NoReturn:
        """Drop the connection after this error, unless it is to be kept, and raise it as a StoreError."""
        if isinstance(error, StoreError):
            self._is_short = True  # if it was for room, the next attempt needs less
            self._drop_connection()
            raise error
        is_lost = self._connection is None or error.connection_invalidated
        self._is_short = is_full(error)
        raise_as = StoreError(
            self._reason_of(error),
            is_lost=is_lost or is_collision(error),
            is_about_data=not is_lost and is_about_data(error),
            # A database that still answers has rolled the transaction back.
            is_unknown=self._is_committing and (is_lost or is_half_written(error)),
        )
        raise_as.is_collision = is_collision(error) and not is_lost
        if not keeps_connection:
            self._drop_connection()
        raise raise_as from error

    def _reason_of(self, failure: DBAPIError | OSError | StoreError) -> str:
        obstacle = self._backend.obstacle() if isinstance(failure, OperationalError) else None
        return f"{reason_of(failure)}: {obstacle}" if obstacle is not None else reason_of(failure)

    def stored_rows(self, end: int) -> StoredRows:
        """The jobs with ids below `end`, over a connection of their own, for another thread."""
        return StoredRows(self.engine, self._backend, self._ownership.owner, end)

    # --- writing

    def reserve_numbers(self) -> range:
        """Numbers that are never given out again, not even by another store, nor after this one was replaced by an old
        copy of itself.

        Raises:
            StoreError: they could not be reserved.
        """

        def reserve(connection: Connection) -> int:
            found = read_meta(connection, "next_number", for_update=self._backend.is_lock_weak)
            first = max(int(found or 1), first_number(time.time(), random.random()))
            write_meta(connection, "next_number", str(first + NUMBERS_RESERVED))
            return first

        first = self.call(reserve)
        return range(first, first + NUMBERS_RESERVED)

    def call(self, call: Callable[[Connection], Item], *, as_owner: bool = False) -> Item:
        """What `call` returns, in a transaction of its own; `as_owner`: only while the rows are ours.

        Raises:
            StoreError: it failed, or it is unknown whether it did.
        """
        with self._in_use() as connection, connection.begin():
            if as_owner:
                self._ownership.begin(connection)
            found = call(connection)
            self._is_committing = True
        return found

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
                self._delete(connection, [row_id(job) for job in batch.inserts])
                delete_keys(connection, submission_keys(batch.inserts))
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
        never finish. The rows of jobs whose letters, results or keys are in the batch must go in its own transaction,
        and so must those that its rows of batches count.
        """
        at_once = DELETES_WHEN_SHORT if self._is_short else DELETES_AT_ONCE
        if len(batch.deletes) <= at_once and len(batch.counted) <= at_once:
            return
        keys = (key.handle for key in batch.remembered)
        kept = {number_of(handle) for handle in (*batch.letters, *batch.results, *keys)} | batch.uncounted
        kept |= {
            row_id(job) for job in (*batch.revived, *batch.owed, *(run.job for run in batch.runs)) if job is not None
        }
        last = [number for number in batch.deletes if number in kept]
        batch.deletes = [*last, *(number for number in batch.deletes if number not in kept)]
        while len(batch.deletes) - len(last) > at_once:
            with self._transaction() as connection:
                self._delete(connection, batch.deletes[-at_once:])
            del batch.deletes[-at_once:]
        counted = [number for number in batch.counted if number not in kept]
        while len(counted) > at_once:
            with self._transaction() as connection:
                ends = {number: batch.counted[number] for number in counted[-at_once:]}
                count_and_delete(connection, ends, self._ownership.owner)
            for number in counted[-at_once:]:
                del batch.counted[number]
            del counted[-at_once:]

    def _write(self, deletes: Sequence[int], inserts: Sequence[Job], batch: Batch, insert: Insert) -> list[Job]:
        """Write deletes, inserts and the other changes of a batch in one transaction."""
        with self._transaction() as connection:
            inserts = self._ownership.begin_batch(connection, batch, inserts)
            if batch.counted or batch.tied:
                tied = {number: counted for number, counted in batch.tied.items() if counted is not None}
                count_and_delete(connection, {**batch.counted, **tied}, self._ownership.owner)
                delete_rows(connection, list(batch.tied), self._ownership.owner)
                self.cursors.delete(connection, [*batch.counted, *batch.tied])
            self._delete(connection, deletes)
            if inserts:
                self._backend.check_room(connection, workload_bytes(inserts))
            refused = insert(connection, inserts) if inserts else []
            change(connection, batch, self._ownership.owner, self._backend.room_bytes())
            if batch.updates:
                self.cursors.write(connection, batch.updates)
        return refused

    def _delete(self, connection: Connection, ids: Sequence[int]) -> None:
        """Delete jobs, with their cursors."""
        delete_rows(connection, ids, self._ownership.owner)
        self.cursors.delete(connection, ids)

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
            others = [job for job in jobs if job not in are_plain]
            self._backend.insert(connection, FULL, [row_of(job, offset_s) for job in others])
            if not self.is_shared:  # else they are claimed beforehand
                write_keys(connection, submission_keys(others))
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
        names = dict.fromkeys(("handle", "function_name"), b"probe")
        probe = -self._ownership.owner
        row = waiting_row(id=probe, priority=NORMAL, submitted_at=0.0, **names, workload=bytes(_PROBE_BYTES))
        with self._transaction() as connection:
            self._backend.check_room(connection, _PROBE_BYTES)
            delete_rows(connection, [probe], self._ownership.owner)
            self._backend.insert(connection, FULL, [row])
        with self._transaction() as connection:
            delete_rows(connection, [probe], self._ownership.owner)
