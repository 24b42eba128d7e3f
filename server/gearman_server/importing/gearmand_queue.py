"""Reads and empties gearmand's table of jobs, as its plugins libsqlite3, MySQL, Postgres and libdrizzle make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnClause, Connection, Engine, and_, column, delete, inspect, or_, select, table, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from gearman_server.errors import StartError
from gearman_server.stores.engine import connect, make_engine, reason_of, shown

_DEFAULT_TABLES: Final = {"sqlite": "gearman_queue", "mysql": "gearman_queue", "postgresql": "queue"}
_THE_QUEUE: Final = "gearmand's database"
#: Without the time, which tables of old versions do not have.
_COLUMNS: Final = ("unique_key", "function_name", "priority", "data")
_ROWS_AT_ONCE: Final = 500
_KEYS_PER_DELETE: Final = 200


class QueuedJob(NamedTuple):
    """A row of gearmand's table. `key` identifies it for its delete."""

    key: tuple[Any, Any]
    unique: bytes
    function: bytes
    priority: int
    workload: bytes
    run_at: int


class GearmandQueue:
    """The table of a gearmand that is not running."""

    def __init__(self, url: URL, table_name: str | None) -> None:
        self._url = url
        self._table_name = table_name or _DEFAULT_TABLES[url.get_backend_name()]
        self._engine: Engine = make_engine(url, _THE_QUEUE)
        #: For messages.
        self.name = f"{shown(url)}, table {self._table_name}"

    def check(self) -> None:
        """Check that the table exists and is gearmand's.

        Raises:
            StartError: there is no such table, or it is not gearmand's.
        """
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").exists():
            raise StartError(f"{self.name}: can't be read: there is no such file")  # SQLite would make one
        try:
            with connect(self._engine, _THE_QUEUE) as connection:
                missing = [name for name in _COLUMNS if name not in self._columns(connection)]
        except NoSuchTableError as error:
            raise StartError(f"{self.name}: can't be read: there is no such table; --table names another") from error
        except DBAPIError as error:
            raise StartError(f"{self.name}: can't be read: {reason_of(error)}") from error
        if missing:
            raise StartError(f"{self.name}: is no table of gearmand's: it has no column {missing[0]}")

    def _columns(self, connection: Connection) -> set[str]:
        return {found["name"] for found in inspect(connection).get_columns(self._table_name)}

    def jobs(self) -> Iterator[QueuedJob]:
        """All rows in the table's order, which is nearly that of their submission.

        Raises:
            StartError: they can't be read.
        """
        try:
            with self._engine.connect() as connection:
                time = ["when_to_run"] if "when_to_run" in self._columns(connection) else []
                columns: list[ColumnClause[Any]] = [column(name) for name in (*_COLUMNS, *time)]
                query = select(*columns).select_from(table(self._table_name, *columns))
                if self._url.get_backend_name() == "sqlite":
                    query = query.order_by(text("rowid"))
                for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
                    yield _queued_job(row)
        except (DBAPIError, NoSuchTableError) as error:
            raise StartError(f"{self.name}: can't be read: {reason_of(error)}") from error

    def remove(self, keys: Sequence[tuple[Any, Any]]) -> None:
        """Delete rows.

        Raises:
            StartError: the table can't be written.
        """
        source = table(self._table_name, column("unique_key"), column("function_name"))
        try:
            with self._engine.begin() as connection:
                for at in range(0, len(keys), _KEYS_PER_DELETE):
                    chunk = keys[at : at + _KEYS_PER_DELETE]
                    matches = [
                        and_(source.c.unique_key == unique, source.c.function_name == name) for unique, name in chunk
                    ]
                    connection.execute(delete(source).where(or_(*matches)))
        except DBAPIError as error:
            reason = reason_of(error)
            raise StartError(
                f"{self.name}: the jobs are taken over, but their rows can't be deleted: {reason}"
            ) from error


def _queued_job(row: Sequence[Any]) -> QueuedJob:
    unique, function, priority, workload = row[:4]
    run_at = row[4] if len(row) > 4 else 0
    return QueuedJob(
        (unique, function), _bytes(unique), _bytes(function), int(priority), _bytes(workload), int(run_at or 0)
    )


def _bytes(found: Any) -> bytes:
    """gearmand writes an empty workload as NULL (SQLite), and names as text."""
    if found is None:
        return b""
    return found.encode("utf-8", "surrogateescape") if isinstance(found, str) else bytes(found)
