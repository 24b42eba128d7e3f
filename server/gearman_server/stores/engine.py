"""SQLAlchemy's way to a database: the URL, the engine, the first connection, and a database's errors in one line.

A malformed URL is a UsageError; a driver that is missing or does not accept the URL is a StartError. A password in it
never reaches a message or a log.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError, SAWarning
from sqlalchemy.pool import NullPool

from gearman_server.errors import StartError, UsageError

if TYPE_CHECKING:
    from gearman_server.stores.backend import Backend

#: The allowed starts of a URL.
SCHEMES: Final = ("sqlite", "postgresql+psycopg", "mysql+pymysql")

_EXPECTED: Final = "sqlite:///FILE, postgresql+psycopg://… or mysql+pymysql://…"

_EXTRAS: Final = {"psycopg": "postgresql", "pymysql": "mysql"}
#: PostgreSQL's codes and MySQL's number for two transactions that can't both go on; Galera has the latter, too.
_COLLISIONS: Final = ("40001", "40P01")
_MYSQL_DEADLOCK: Final = 1213
#: The exceptions of SQLAlchemy and the drivers for mistakes after the `?` of a URL.
_MISTAKES: Final = (ArgumentError, SAWarning, TypeError, ValueError, AttributeError)


# --- the URL


def parse_url(text: str, option: str = "--store") -> URL:
    """The database's URL; `option` is where it was written.

    Raises:
        UsageError: it is not the URL of a store.
    """
    expected = f"write {'memory, ' if option == '--store' else ''}{_EXPECTED}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text itself may be all password.
        raise UsageError(f"{option}: that is no URL of a store: {expected}") from None
    if url.drivername not in SCHEMES:
        raise UsageError(f"{option}: {url.drivername}:// is no store: {expected}")
    if url.drivername == "sqlite" and (not url.database or url.database == ":memory:"):
        raise UsageError(f"{option}: sqlite:/// needs a file, as in sqlite:///jobs.db; without one there is `memory`")
    if url.get_backend_name() == "mysql" and not url.database:
        raise UsageError(f"{option}: {url.drivername}:// needs a database, as in {url.drivername}://USER@HOST/DATABASE")
    return url


def shown(url: URL) -> str:
    """The URL as it may be shown: without a password, and without the query, which could hold one, too."""
    return url.set(query={}).render_as_string(hide_password=True)


# --- the engine


def make_engine(url: URL, what: str, **options: Any) -> Engine:
    """An engine without a pool. `what` names the database in messages, such as `the store`.

    Raises:
        StartError: the driver is not installed, or does not accept the URL.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # about an unknown word after the `?`
            return create_engine(url, poolclass=NullPool, **options)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "")
        raise StartError(
            f"{what} {shown(url)} needs the Python package {error.name}: pip install 'gearman-manager[{extra}]'"
        ) from error
    except _MISTAKES as error:
        if not url.query:
            raise  # the mistake is ours
        raise _refused(url, what) from error


def engine_of(url: URL, backend: Backend, timeout_s: float, further: dict[str, Any]) -> Engine:
    """The engine of a store, whose calls do not wait much longer than the time; `further` options are the driver's.

    Raises:
        StartError: the driver is not installed, or does not accept the URL.
    """
    options = {**backend.connect_options(timeout_s), **further}
    engine = make_engine(url, "the store", pool_reset_on_return=None, connect_args=options)

    @event.listens_for(engine, "connect")
    def prepare(driver_connection: Any, _record: Any) -> None:
        backend.prepare(driver_connection)

    @event.listens_for(engine, "do_connect")
    def check(*_arguments: Any) -> None:
        backend.check()  # SQLite would make a new file

    event.listen(engine, "begin", backend.begin)
    return engine


def connect(engine: Engine, what: str) -> Connection:
    """The first connection.

    Raises:
        StartError: the driver does not accept the URL.
    """
    try:
        return engine.connect()
    except _MISTAKES as error:
        if not engine.url.query:
            raise  # the mistake is ours
        raise _refused(engine.url, what) from error


def _refused(url: URL, what: str) -> StartError:
    # The names are shown, but not their values: one could be a password.
    return StartError(
        f"{what} {shown(url)} can't be used: the driver does not take what stands behind the ? of the URL "
        f"({', '.join(url.query)}): correct it, or leave it out"
    )


# --- a database's errors


def reason_of(failure: BaseException) -> str:
    """The driver's message, without the statement and the values that SQLAlchemy appends."""
    cause = failure.orig if isinstance(failure, DBAPIError) and failure.orig is not None else failure
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
    words = cause.args[-1] if cause.args and isinstance(cause.args[-1], str) else str(cause)
    return " ".join(words.split()) or type(cause).__name__


def is_locked(failure: DBAPIError) -> bool:
    """Whether SQLite waited for another process in vain, or was broken off: the next attempt may succeed."""
    name = getattr(failure.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_INTERRUPT"))


def is_half_written(failure: DBAPIError) -> bool:
    """Whether SQLite could not make sure of a transaction that it had written already: a crash may bring it back."""
    return getattr(failure.orig, "sqlite_errorname", "").endswith("FSYNC")


def is_full(failure: DBAPIError) -> bool:
    """Whether SQLite found no room on the disk."""
    return getattr(failure.orig, "sqlite_errorname", "") == "SQLITE_FULL"


def is_about_data(failure: DBAPIError) -> bool:
    """Whether the jobs themselves are the reason. If it is the database, a read-only one for instance, none of them
    could be stored."""
    return isinstance(failure, DataError | IntegrityError) and not failure.connection_invalidated


def is_collision(failure: DBAPIError) -> bool:
    """Whether the database has rolled the transaction back in favour of another one: the same once more may succeed."""
    cause = failure.orig
    if isinstance(failure, OperationalError) and cause is not None and cause.args[:1] == (_MYSQL_DEADLOCK,):
        return True
    return getattr(cause, "sqlstate", None) in _COLLISIONS


def is_intact_after(failure: Exception, connection: Connection | None) -> bool:
    """Whether the connection can be used again: it was a collision, and nothing is left of the transaction."""
    if connection is None or not isinstance(failure, DBAPIError) or failure.connection_invalidated:
        return False
    return is_collision(failure) and not (connection.invalidated or connection.in_transaction())
