"""The SQLite file of the history, and the thread in which everything is done that touches it.

SQLite's own module is enough here, and the supervisor needs no memory for SQLAlchemy.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import gevent
from gevent.threadpool import ThreadPool

from gearman_manager.errors import ManagerError

_log = logging.getLogger("history")
FILE_NAME: Final = "history.db"
#: The file's size is bounded, whatever the tables do.
MOST_BYTES: Final = 96 << 20
_PAGE_BYTES: Final = 4096
#: How long those who wait for an answer do so: the disk may hang.
PATIENCE_S: Final = 5.0
#: Instructions of SQLite between two looks at the clock: about a millisecond.
_LOOK_EVERY: Final = 20_000
Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Result]


def file_names(name: str) -> frozenset[str]:
    """A file's name, those of what SQLite puts beside it, and of what is left of one that could not be read."""
    return frozenset({name, *(name + end for end in ("-wal", "-shm", "-journal", ".broken"))})


FILE_NAMES: Final = file_names(FILE_NAME)


class HistoryError(ManagerError):
    """The history can't be read or written."""


class HistoryFile:
    """Runs jobs on the file's connection, one after the other. Nothing is opened before the first job."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_pages = most_bytes // _PAGE_BYTES
        self._tables: list[str] = []
        self._columns: list[tuple[str, str, str]] = []
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPool | None = None
        #: When the job that is carried out is broken off (monotonic seconds).
        self._until = 0.0

    def declare(self, table: str) -> None:
        """A statement `CREATE TABLE IF NOT EXISTS …`, or one for an index, carried out when the file is opened."""
        self._tables.append(table)

    def declare_column(self, table: str, column: str, kind: str) -> None:
        """A column that the table of an older file may not have: it is added when the file is opened."""
        self._columns.append((table, column, kind))

    def run(self, job: Job[Result], patience_s: float = PATIENCE_S) -> Result:
        """Run a job in the thread, in a transaction of its own; only the calling greenlet waits for it.

        Raises:
            HistoryError: the file can't be used, or it takes longer than `patience_s`. Then the job is broken off, or
                not begun, so that others need not wait for it; if the disk hangs it may still be done.
        """
        if self._thread is None:
            self._thread = ThreadPool(1)
        try:
            with gevent.Timeout(patience_s):
                result, error = self._thread.apply(self._carry_out, (job, time.monotonic() + patience_s))
        except gevent.Timeout as late:
            raise HistoryError(f"{self._path} is not ready after {patience_s:g} s") from late
        if error is not None:
            raise HistoryError(f"{self._path} can't be used: {error}") from error
        answer: Result = result
        return answer

    def close(self) -> None:
        """Close the file. Later jobs open it again."""
        if self._connection is not None:
            with suppress(HistoryError):  # a disk that hangs keeps the connection
                self.run(lambda _: None, 1.0)
                self._connection.close()
                self._connection = None

    # --- in the thread

    def _carry_out(self, job: Job[Result], until: float) -> tuple[Result | None, Exception | None]:
        """The job's result, or the reason why there is none: of one that is raised here gevent prints a traceback."""
        self._until = until
        if self._is_late():
            return None, OSError("there was no time for it")  # nobody waits for it any more
        try:
            return self._attempt(job), None
        except (sqlite3.Error, OSError, ValueError) as error:  # sqlite3 lets ValueError of texts and numbers through
            return None, error

    def _attempt(self, job: Job[Result]) -> Result:
        try:
            return self._in_transaction(job)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
                raise
            self._set_aside(error)
            return self._in_transaction(job)

    def _in_transaction(self, job: Job[Result]) -> Result:
        if self._connection is None:
            self._connection = self._open()
        with self._connection:
            return job(self._connection)

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    def _open(self) -> sqlite3.Connection:
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("it is no regular file")
        finally:
            os.close(descriptor)
        connection = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # the last moments may be lost with the machine, no more
            connection.execute(f"PRAGMA max_page_count = {self._most_pages}")
            for table in self._tables:
                connection.execute(table)
            for name, column, kind in self._columns:
                if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}:
                    connection.execute(f"ALTER TABLE {name} ADD COLUMN {column} {kind}")
            connection.set_progress_handler(self._is_late, _LOOK_EVERY)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Begin a new file: this one is none of SQLite's, or broken."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        broken = self._path.with_name(self._path.name + ".broken")
        self._path.replace(broken)
        _log.warning("%s is broken (%s): it begins anew, and the old file is %s", self._path, error, broken.name)
