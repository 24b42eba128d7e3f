"""Inserts into the outbox through whatever connection the program has: DB-API, SQLAlchemy or Django.

None of these is imported here: an object of theirs proves that its library is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple

from gearman_client.errors import ArgumentError, OutboxError
from gearman_client.outbox.row import Row
from gearman_client.outbox.schema import GIVEN

EXPECTED: Final = (
    "expected a DB-API connection (sqlite3, psycopg, PyMySQL …), a Connection or Session of SQLAlchemy, "
    "or django.db.connection"
)
#: Rows in one call of the driver.
_MAX_ROWS: Final = 500
_DIALECTS: Final = {
    "sqlite3": "sqlite",
    "pysqlite3": "sqlite",
    "sqlcipher3": "sqlite",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "psycopg2cffi": "postgresql",
    "pg8000": "postgresql",
    "pymysql": "mysql",
    "MySQLdb": "mysql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
#: How a statement has its values, by the driver's `paramstyle`.
_PLACES: Final[dict[str, Callable[[int, str], str]]] = {
    "qmark": lambda _number, _name: "?",
    "numeric": lambda number, _name: f":{number}",
    "named": lambda _number, name: f":{name}",
    "format": lambda _number, _name: "%s",
    "pyformat": lambda _number, _name: "%s",
}
_MYSQL_NO_SUCH_TABLE: Final = 1146
_POSTGRESQL_NO_SUCH_TABLE: Final = "42P01"


class Target(NamedTuple):
    """A connection, as statements are sent over it.

    dialect: the kind of database; empty if that is unknown.
    paramstyle: of PEP 249.
    execute: a statement without values; execute_many: one with a list of them.
    """

    dialect: str
    paramstyle: str
    execute: Callable[[str], object]
    execute_many: Callable[[str, Sequence[Any]], object]


def target_of(connection: Any) -> Target:
    """How to send statements over a connection, in its own transaction.

    Raises:
        ArgumentError: it is no connection that is known here; the text says what to give instead.
    """
    if hasattr(connection, "run_sync"):
        raise ArgumentError(
            f"{_kind(connection)} is asynchronous: await connection.run_sync(lambda connection: "
            "outbox.background(connection, …)), with its own connection or session"
        )
    if _is_of("sqlalchemy", connection):
        return _sqlalchemy(connection)
    if hasattr(connection, "settings_dict") and hasattr(connection, "vendor"):
        return _over_cursor(connection, str(connection.vendor), "format")
    return _dbapi(connection, connection)


def insert(connection: Any, table: str, rows: Sequence[Row]) -> None:
    """Insert rows into the table, in the connection's transaction.

    Raises:
        ArgumentError: it is no connection that is known here.
        OutboxError: there is no such table.
    """
    target = target_of(connection)
    places = ", ".join(_PLACES[target.paramstyle](at, name) for at, name in enumerate(GIVEN, 1))
    statement = f"INSERT INTO {table} ({', '.join(GIVEN)}) VALUES ({places})"
    values: list[Any] = (
        [row._asdict() for row in rows] if target.paramstyle == "named" else [tuple(row) for row in rows]
    )
    for at in range(0, len(values), _MAX_ROWS):
        try:
            target.execute_many(statement, values[at : at + _MAX_ROWS])
        except Exception as error:
            if not _is_missing_table(error):
                raise
            dialect = f'"{target.dialect}"' if target.dialect else "…"
            raise OutboxError(
                f"there is no table {table}: outbox.create_table(connection) makes it, and "
                f"outbox.create_statements({dialect}) has the statements for a migration"
            ) from error


# --- the libraries


def _sqlalchemy(connection: Any) -> Target:
    if hasattr(connection, "driver_connection"):  # of Engine.raw_connection()
        return _dbapi(connection, connection.driver_connection)
    if hasattr(connection, "get_bind"):  # a Session, a scoped one too
        connection = connection.connection()
    if not hasattr(connection, "exec_driver_sql"):
        raise ArgumentError(
            f"{_kind(connection)} has no transaction of its own: give the Connection or Session over which the program "
            "makes its other changes"
        )
    text = sys.modules["sqlalchemy"].text
    return Target(
        str(connection.dialect.name),
        "named",
        lambda statement: connection.execute(text(statement)),
        lambda statement, values: connection.execute(text(statement), list(values)),
    )


def _dbapi(connection: Any, of_driver: Any) -> Target:
    """`connection` may stand in front of the driver's own."""
    modules = list(_modules_of(of_driver))
    paramstyle = next((style for module in modules if (style := getattr(module, "paramstyle", None)) in _PLACES), None)
    if paramstyle is None or not callable(getattr(connection, "cursor", None)):
        raise ArgumentError(f"{_kind(connection)} is no connection to a database: {EXPECTED}")
    if iscoroutinefunction(getattr(connection, "commit", None)):
        raise ArgumentError(
            f"{_kind(connection)} is asynchronous: write the row with a blocking connection, or over SQLAlchemy's "
            "AsyncSession with run_sync"
        )
    dialects = (_DIALECTS.get(module.__name__.partition(".")[0], "") for module in modules)
    return _over_cursor(connection, next(filter(None, dialects), ""), paramstyle)


def _over_cursor(connection: Any, dialect: str, paramstyle: str) -> Target:
    def execute(statement: str) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()

    def execute_many(statement: str, values: Sequence[Any]) -> None:
        cursor = connection.cursor()
        try:
            if len(values) == 1:
                cursor.execute(statement, values[0])
            else:
                cursor.executemany(statement, values)
        finally:
            cursor.close()

    return Target(dialect, paramstyle, execute, execute_many)


def _modules_of(value: Any) -> Iterator[Any]:
    """The modules of an object's classes, and the packages around each."""
    for kind in type(value).__mro__:
        name = kind.__module__
        while name:
            module = sys.modules.get(name)
            if module is not None and name != "builtins":
                yield module
            name = name.rpartition(".")[0]


def _is_of(package: str, value: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(value).__mro__)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _is_missing_table(error: BaseException) -> bool:
    """Whether a driver's error, or the one behind SQLAlchemy's or Django's, is about a table that is not there."""
    for each in (error, getattr(error, "orig", None), error.__cause__):
        if each is None:
            continue
        code = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
        first = each.args[0] if each.args else None
        if isinstance(first, dict):  # pg8000's
            code = first.get("C")
        if code == _POSTGRESQL_NO_SUCH_TABLE or first == _MYSQL_NO_SUCH_TABLE:
            return True
        if getattr(each, "errno", None) == _MYSQL_NO_SUCH_TABLE:
            return True
        if type(each).__name__ == "OperationalError" and str(each).startswith("no such table"):
            return True
    return False
