"""The differences between SQLite, PostgreSQL and MySQL: connections, inserts of many rows, and ownership.

Inserts go to the driver as ready text with many rows each: a statement per row holds the interpreter's lock twice as
long (measured), and the server's loop needs this lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, exc, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from gearman_server.errors import StoreError
from gearman_server.stores.backend import Backend
from gearman_server.stores.rows import FULL, PLAIN, Layout, Row, plain_rows
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

JOBS: Final = "gearman_jobs"
#: Bytes of rows in one statement: far below MySQL's max_allowed_packet, and no copy of a whole batch.
STATEMENT_BYTES: Final = 4 << 20
_MAX_ROWS: Final = 512
#: The other columns of a row of MySQL, escaped, with the statement around them.
_OTHER_COLUMNS_BYTES: Final = 20_000


#: The option of a connection that never writes.
ONLY_READS: Final = "gearman_only_reads"

Item = TypeVar("Item")


def backend_of(url: URL) -> Backend:
    """The backend for a URL."""
    if url.drivername == "sqlite":
        return Sqlite(url.database or "")
    return PostgreSql() if url.drivername.startswith("postgresql") else MySql()


class _ManyValues:
    """INSERT with a list of VALUES: statements of 1, 2, 4 … rows, so that few texts serve every number of rows."""

    def __init__(self, placeholder: str, *layouts: Layout) -> None:
        self.statement_bytes = STATEMENT_BYTES
        self._texts = {layout: _texts(layout, placeholder) for layout in layouts}

    def insert(self, connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
        texts = self._texts[layout]
        for chunk in _chunks(rows, self._sizes(layout, rows), self.statement_bytes):
            at = 0
            while at < len(chunk):
                count = 1 << min(len(chunk) - at, _MAX_ROWS).bit_length() - 1
                connection.exec_driver_sql(texts[count], self._values(chunk[at : at + count]))
                at += count

    def _sizes(self, _layout: Layout, rows: Sequence[Row]) -> list[int]:
        return _workload_sizes(rows)

    def _values(self, rows: Sequence[Row]) -> tuple[Any, ...]:
        return tuple(chain.from_iterable(rows))

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        return []

    def room_bytes(self) -> int | None:
        return None


def _texts(layout: Layout, placeholder: str) -> dict[int, str]:
    """The statements, by their number of rows."""
    values = f"({', '.join([*['0'] * len(layout.zeros), *[placeholder] * len(layout.columns)])})"
    head = f"INSERT INTO {JOBS} ({', '.join(layout.zeros + layout.columns)}) VALUES "
    return {1 << power: head + ", ".join([values] * (1 << power)) for power in range(_MAX_ROWS.bit_length())}


def _workload_sizes(rows: Sequence[Row]) -> list[int]:
    return [len(row[-1]) for row in rows]


def _chunks(rows: Sequence[Item], sizes: Sequence[int], statement_bytes: int) -> Iterator[Sequence[Item]]:
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


class Sqlite(_ManyValues):
    """A file in WAL mode."""

    wants_looks = True
    is_lock_weak = False

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
        for chunk in _chunks(jobs, sizes, self.statement_bytes):
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


class _Remote:
    """A database that a server of its own looks after."""

    wants_looks = False
    # A lock of a session says nothing about another node of a cluster, or the sessions behind a proxy.
    is_lock_weak = True

    def disown(self) -> None:
        pass

    def open(self) -> None:
        pass

    def begin_ownership(self, driver_connection: Any) -> None:
        pass

    def check(self, *, is_brief: bool = False) -> None:
        pass

    def repair(self, driver_connection: Any) -> bool:
        return False

    def check_room(self, connection: Connection, workload_bytes: int) -> None:
        pass

    def empty_log(self, driver_connection: Any) -> None:
        pass

    def note_closed(self) -> None:
        pass

    def obstacle(self) -> str | None:
        return None


class PostgreSql(_Remote):
    """Rows are sent as one array per column; the owner holds an advisory lock."""

    _TYPES: Final = {
        **dict.fromkeys(("state", "priority"), "smallint"),
        **dict.fromkeys(("requeues", "failures"), "integer"),
        **dict.fromkeys(("run_at", "submitted_at"), "float8"),
        "id": "bigint",
    }

    def __init__(self) -> None:
        self._texts = {layout: self._text(layout) for layout in (FULL, PLAIN)}

    def _text(self, layout: Layout) -> str:
        arrays = ", ".join(f"%s::{self._TYPES.get(column, 'bytea')}[]" for column in layout.columns)
        names = ", ".join(layout.zeros + layout.columns)
        return f"INSERT INTO {JOBS} ({names}) SELECT {'0, ' * len(layout.zeros)}given.* FROM unnest({arrays}) AS given"

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        seconds = max(2, int(timeout_s))
        return {
            "connect_timeout": seconds,
            "fallback_application_name": "gearman-server",
            "keepalives_idle": 30,
            "tcp_user_timeout": seconds * 1000,
        }

    def prepare(self, driver_connection: Any) -> None:
        pass

    def begin(self, connection: Connection) -> None:
        pass

    def insert(self, connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
        for chunk in _chunks(rows, _workload_sizes(rows), STATEMENT_BYTES):
            values = tuple(list(column) for column in zip(*chunk, strict=True))
            connection.exec_driver_sql(self._texts[layout], values)

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        self.insert(connection, PLAIN, plain_rows(jobs, offset_s))

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        return False

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        return []

    def room_bytes(self) -> int | None:
        return None

    def own(self, connection: Connection) -> bool:
        schema, session = connection.execute(text("SELECT current_schema(), pg_backend_pid()")).one()
        driver_connection: Any = connection.connection.driver_connection
        if session != driver_connection.info.backend_pid:
            raise StoreError(
                "the connection leads to a pooler, such as PgBouncer, whose sessions others use too: the lock of the"
                " store's owner would not hold, or stay for ever; give the address of PostgreSQL itself"
            )
        key = int.from_bytes(hashlib.sha256(f"gearman-server {schema}".encode()).digest()[:7])
        return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())

    def break_off(self, driver_connection: Any) -> None:
        _shut_down(driver_connection.fileno())


class MySql(_ManyValues, _Remote):
    """MySQL and MariaDB; the owner holds a lock made by GET_LOCK."""

    def __init__(self) -> None:
        super().__init__("%s", FULL, PLAIN)
        self._packet_bytes = 1 << 20

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        return {"connect_timeout": max(1, int(timeout_s)), "read_timeout": timeout_s, "write_timeout": timeout_s}

    def prepare(self, driver_connection: Any) -> None:
        with driver_connection.cursor() as cursor:
            # READ COMMITTED: a delete of many rows locks no gaps between them.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # Otherwise a name that is too long would be cut silently.
            cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute("SELECT @@max_allowed_packet")
            self._packet_bytes = int(cursor.fetchone()[0])
        self.statement_bytes = min(STATEMENT_BYTES, self._packet_bytes // 4)  # escaping can double it

    def begin(self, connection: Connection) -> None:
        pass

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        self.insert(connection, PLAIN, plain_rows(jobs, offset_s))

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        return False

    def _sizes(self, layout: Layout, rows: Sequence[Row]) -> list[int]:
        """Include the names of functions, which can be long: a statement must fit into a packet."""
        name = layout.columns.index("function_name")
        if layout is PLAIN:
            return [len(row[name]) + len(row[-1]) for row in rows]
        error = layout.columns.index("last_error")
        return [len(row[name]) + len(row[error] or b"") + len(row[-1]) for row in rows]

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        """A packet above the server's bound ends the connection, and with it the rest of the batch."""
        room_bytes = self._packet_bytes - _OTHER_COLUMNS_BYTES
        big = [job for job in jobs if len(job.workload) * 2 > room_bytes]
        return [job for job in big if len(driver_connection.escape(job.workload)) > room_bytes]

    def room_bytes(self) -> int | None:
        return (self._packet_bytes - _OTHER_COLUMNS_BYTES) // 2  # escaping can double it

    def own(self, connection: Connection) -> bool:
        database = connection.execute(text("SELECT DATABASE()")).scalar()
        name = "gearman-server " + hashlib.sha256(str(database).encode()).hexdigest()[:32]
        return connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": name}).scalar() == 1

    def break_off(self, driver_connection: Any) -> None:
        _shut_down(driver_connection._sock.fileno())


def _shut_down(descriptor: int) -> None:
    """End the input of a call that waits for the socket. The descriptor stays with its owner."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
