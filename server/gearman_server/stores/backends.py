"""Which kind of database a URL names, and SQLite's: connections, inserts, and ownership.

Inserts go to the driver as ready text with many rows each (`many_values`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, exc
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from gearman_server.errors import StoreError
from gearman_server.stores.backend import Backend
from gearman_server.stores.many_values import ManyValues, chunks
from gearman_server.stores.remote import MySql, PostgreSql
from gearman_server.stores.rows import FULL, Row
from gearman_server.stores.sqlite import (
    MAX_ROWS,
    PAGE_BYTES,
    RESERVE_BYTES,
    bindable,
    log_pages,
    obstacle_of,
    plain_insert,
)
from gearman_server.stores.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

#: The option of a connection that never writes.
ONLY_READS: Final = "gearman_only_reads"


def backend_of(url: URL) -> Backend:
    """The backend for a URL."""
    if url.drivername == "sqlite":
        return Sqlite(url.database or "")
    return PostgreSql() if url.drivername.startswith("postgresql") else MySql()


class Sqlite(ManyValues):
    """A file in WAL mode."""

    wants_looks = True
    is_lock_weak = False
    sharing = None

    def __init__(self, name: str) -> None:
        super().__init__("?", FULL)
        self._file = SqliteFile(name)
        #: The limit of the log, and the room on the disk to which it fits.
        self._log_fits = self._log_pages = 0
        #: The connection of the last insert, and the driver's: to look that up takes six calls.
        self._known: Connection | None = None
        self._driver_connection: Any = None

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        # None: the driver begins no transaction by itself, so a single statement is a transaction.
        return {
            "timeout": timeout_s,
            "check_same_thread": False,
            "cached_statements": 256,
            "isolation_level": None,
        }

    def prepare(self, driver_connection: Any) -> None:
        # A commit is on the disk when it returns.
        driver_connection.execute("PRAGMA synchronous=FULL").close()
        self._log_pages = 0
        self._limit_log(driver_connection, self._file.room())
        driver_connection.execute("PRAGMA journal_mode=WAL").close()

    def begin(self, connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later would not wait for another one's lock, because
        # SQLite refuses it at once.
        is_reading = connection.get_execution_options().get(ONLY_READS, False)
        connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

    def _values(self, rows: Sequence[Row]) -> tuple[Any, ...]:
        return tuple([bindable(value) for value in chain.from_iterable(rows)])

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        sizes = [len(job.workload) for job in jobs]
        if self.is_atomic(jobs, sum(sizes)):
            self._insert_at_once(connection, jobs, offset_s)
            return
        for chunk in chunks(jobs, sizes, self.statement_bytes):
            for at in range(0, len(chunk), MAX_ROWS):
                self._insert_at_once(connection, chunk[at : at + MAX_ROWS], offset_s)

    def _insert_at_once(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        """Insert by the driver itself: the way through SQLAlchemy costs a tenth of the submissions (measured)."""
        statement, values = plain_insert(jobs, offset_s)
        if connection is not self._known:
            self._known, self._driver_connection = connection, connection.connection.driver_connection
        try:
            self._driver_connection.execute(statement, values)
        except sqlite3.Error as error:
            raise _as_sqlalchemys(error, statement) from error

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        return len(jobs) <= MAX_ROWS and size_bytes <= self.statement_bytes

    def own(self, connection: Connection) -> bool:
        return self._file.own()

    def disown(self) -> None:
        self._file.disown()

    def open(self) -> None:
        self._file.open()

    def begin_ownership(self, driver_connection: Any) -> None:
        self._file.mark(driver_connection)

    def check(self, *, is_brief: bool = False) -> None:
        self._file.check(is_brief=is_brief)

    def repair(self, driver_connection: Any) -> bool:
        return self._file.repair(driver_connection)

    def check_room(self, connection: Connection, workload_bytes: int) -> None:
        room = self._file.room()
        if room != self._log_fits:
            self._limit_log(connection.connection.driver_connection, room)
        if room > RESERVE_BYTES + 2 * workload_bytes:  # in the log, and then in the file
            return
        driver_connection: Any = connection.connection.driver_connection  # the other one would begin a transaction
        (free_pages,) = driver_connection.execute("PRAGMA freelist_count").fetchone()
        if room < workload_bytes or room + free_pages * PAGE_BYTES < RESERVE_BYTES + 2 * workload_bytes:
            raise StoreError(f"database or disk is full: {room >> 10} KiB are left")

    def _limit_log(self, driver_connection: Any, room: int) -> None:
        self._log_fits, pages = room, log_pages(room)
        if pages != self._log_pages:
            self._log_pages = pages
            driver_connection.execute(f"PRAGMA wal_autocheckpoint={pages}").close()
            driver_connection.execute(f"PRAGMA journal_size_limit={2 * pages * PAGE_BYTES}").close()

    def empty_log(self, driver_connection: Any) -> None:
        with contextlib.suppress(sqlite3.Error):  # the disk is full, or whatever the trouble is
            driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def note_closed(self) -> None:
        self._known = self._driver_connection = None
        self._file.finish_repair()

    def obstacle(self) -> str | None:
        return obstacle_of(self._file.path)

    def break_off(self, driver_connection: Any) -> None:
        driver_connection.interrupt()


def _as_sqlalchemys(failure: sqlite3.Error, statement: str) -> DBAPIError:
    """SQLAlchemy's exception for one of the driver; they have the same names."""
    kind: type[DBAPIError] = getattr(exc, type(failure).__name__)
    return kind(statement, None, failure)
