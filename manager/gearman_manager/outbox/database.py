"""The database of the outbox: its URL, one connection that is opened when it is needed, and its clock.

The database belongs to a program of the user. So no transaction here waits for anything but the database, locks no gap
between rows, and changes no setting of a file.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SAWarning, SQLAlchemyError
from sqlalchemy.pool import NullPool

from gearman_manager.errors import ManagerError

#: The drivers by the beginning of a URL, also by those beginnings that other programs' settings have.
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_EXTRAS: Final = {"psycopg": "postgresql", "pymysql": "mysql"}
_EXPECTED: Final = "expected sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://…"
#: The mistakes that SQLAlchemy and the drivers find in what stands behind the ? of a URL.
_MISTAKES: Final = (ArgumentError, SAWarning, TypeError, ValueError, AttributeError)

_CONNECT_S: Final = 5
#: The longest wait for an answer of the database, and for the lock of a SQLite file.
_ANSWER_S: Final = 20
_LOCK_S: Final = 5
#: How often the database's clock is looked at; in between ours goes on.
_CLOCK_S: Final = 5.0
_CLOCKS: Final = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    "mysql": "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
}
#: A relay that is frozen in the middle of a transaction, or whose host is gone, gives its locks back after this time.
#: LOCAL: behind a pooler the session is the program's, too.
_NOT_FOR_LONG: Final = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
_NOT_FOR_LONG_IN_MARIADB: Final = "SET SESSION idle_transaction_timeout = 5"
_NOT_FOR_LONG_IN_MYSQL: Final = "SET SESSION wait_timeout = 30"
#: The option of a transaction that only reads: in SQLite it takes no lock from the program.
ONLY_READS: Final = "gearman_only_reads"

#: What a lost or refusing database raises.
TROUBLES: Final = (SQLAlchemyError, OSError)


def parse_url(given: str) -> URL:
    """The database's URL.

    Raises:
        ManagerError: it is no URL of such a database.
    """
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise ManagerError(f"that is no URL of a database: {_EXPECTED}") from None  # it may be all password
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise ManagerError(f"{url.drivername}:// is no database for an outbox: {_EXPECTED}")
    if driver == "sqlite" and (not url.database or url.database == ":memory:"):
        raise ManagerError("sqlite:/// needs the file of the program's database, as in sqlite:///shop.db")
    if driver.startswith("mysql") and not url.database:
        raise ManagerError(f"{url.drivername}:// needs a database, as in mysql://USER@HOST/DATABASE")
    return url if "+" in url.drivername else url.set(drivername=driver)


def shown(url: URL) -> str:
    """The URL as it may be shown: without a password, and without the query, which could hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def reason_of(failure: BaseException) -> str:
    """The driver's message, without the statement and its values."""
    cause = failure.orig if isinstance(failure, DBAPIError) and failure.orig is not None else failure
    words = cause.args[-1] if cause.args and isinstance(cause.args[-1], str) else str(cause)
    return " ".join(words.split()) or type(cause).__name__


class Database:
    """One connection to the database, for one thread."""

    def __init__(self, url: URL) -> None:
        """Raises ManagerError if the driver is missing, or does not take the URL."""
        self.name = shown(url)
        self.kind = url.get_backend_name()
        self._file = Path(url.database or "") if self.kind == "sqlite" else None
        self._engine = _engine(url)
        self._connection: Connection | None = None
        self._offset_ms, self._looked_at = 0.0, float("-inf")

    @contextmanager
    def transaction(self, *, only_reads: bool = False) -> Iterator[Connection]:
        """A transaction, committed at its end. After an error the connection is closed, and the next one is new."""
        connection = self._opened()
        try:
            if self.kind == "sqlite":
                connection = connection.execution_options(**{ONLY_READS: only_reads})
            with connection.begin():
                if self.kind == "postgresql" and not only_reads:
                    connection.exec_driver_sql(_NOT_FOR_LONG)
                yield connection
        except BaseException:
            self.close()
            raise

    def now_ms(self) -> int:
        """The database's time, in Unix milliseconds: all relays have the same one."""
        now = monotonic()
        if now - self._looked_at > _CLOCK_S:
            with self.transaction(only_reads=True) as connection:
                found = connection.execute(text(f"SELECT {_CLOCKS[self.kind]}")).scalar_one()
            now = monotonic()
            self._offset_ms, self._looked_at = int(found) - now * 1000, now
        return int(now * 1000 + self._offset_ms)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self._looked_at = float("-inf")
        if connection is not None:
            with suppress(*TROUBLES):
                connection.invalidate()
            with suppress(*TROUBLES):
                connection.close()

    def _opened(self) -> Connection:
        if self._connection is None:
            if self._file is not None and not self._file.is_file():
                raise FileNotFoundError(f"there is no file {self._file}")  # SQLite would make an empty one
            self._connection = self._engine.connect()
        return self._connection


def _engine(url: URL) -> Engine:
    kind = url.get_backend_name()
    options: dict[str, Any] = {"timeout": _LOCK_S, "isolation_level": None, "check_same_thread": False}
    if kind == "postgresql":
        options = {
            "connect_timeout": _CONNECT_S,
            "fallback_application_name": "gearman-manager outbox",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": _ANSWER_S * 1000,
            "prepare_threshold": None,  # a pooler may give each transaction another session
        }
    elif kind == "mysql":
        options = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "write_timeout": _ANSWER_S}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # about an unknown word behind the ?
            engine = create_engine(url, poolclass=NullPool, connect_args=options)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "")
        remedy = f"pip install 'gearman-manager[{extra}]'" if extra else f"pip install {error.name}"
        raise ManagerError(f"{shown(url)} needs the Python package {error.name}: {remedy}") from error
    except _MISTAKES as error:
        raise ManagerError(f"{shown(url)} can't be used: {reason_of(error)}") from error
    if kind == "mysql":
        event.listen(engine, "connect", _prepare_mysql)
    elif kind == "sqlite":
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_mysql(driver_connection: Any, _record: Any) -> None:
    with driver_connection.cursor() as cursor:
        # READ COMMITTED: no locks of gaps, for which the program's inserts would wait.
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # In a local time zone the clock is an hour wrong twice a year.
        cursor.execute("SET SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 5")
        cursor.execute(_NOT_FOR_LONG_IN_MYSQL)
        if "MariaDB" in driver_connection.get_server_info():
            cursor.execute(_NOT_FOR_LONG_IN_MARIADB)


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later would not wait for another one's lock.
    only_reads = connection.get_execution_options().get(ONLY_READS, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def is_missing_table(failure: BaseException) -> bool:
    """Whether a statement failed because there is no table of the outbox."""
    cause = getattr(failure, "orig", None)
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith("no such table")
    return getattr(cause, "sqlstate", None) == "42P01" or bool(cause and cause.args and cause.args[0] == 1146)
