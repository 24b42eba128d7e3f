"""The schema as numbered steps: a new database runs all of them, an old one those that it has not run.

A released step never changes. Each can be run again after it broke off, because MySQL commits every DDL statement by
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql

from gearman_server.errors import StartError
from gearman_server.stores.rows import OWNER

META: Final = "gearman_store"
_VERSION: Final = "version"


def _id() -> Any:
    """64 bits; in SQLite its own row number."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _bytes(size: int) -> Any:
    """Bytes up to a size. MySQL would keep a BLOB outside the row."""
    return LargeBinary().with_variant(mysql.VARBINARY(size), "mysql", "mariadb")


def _workload() -> Any:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _seconds() -> Any:
    """Unix seconds with a fraction, in double precision."""
    return Float(53)


def _create_jobs(connection: Connection) -> None:
    """Version 1. Names are as long as the protocol allows: 8192 bytes for a function, 64 for the rest."""
    Table(
        "gearman_jobs",
        MetaData(),
        Column("id", _id(), primary_key=True, autoincrement=False),
        Column("owner", BigInteger(), nullable=False, server_default=str(OWNER)),
        Column("lease_until", _seconds()),
        Column("state", SmallInteger(), nullable=False),
        Column("priority", SmallInteger(), nullable=False),
        Column("requeues", Integer(), nullable=False),
        Column("failures", Integer(), nullable=False),
        Column("run_at", _seconds()),
        Column("submitted_at", _seconds(), nullable=False),
        Column("handle", _bytes(64), nullable=False),
        Column("function_name", _bytes(8192), nullable=False),
        Column("unique_key", _bytes(64), nullable=False),
        Column("reducer", _bytes(64)),
        Column("last_error", _workload()),
        Column("workload", _workload(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_dead(connection: Connection) -> None:
    """Version 2: letters of jobs that failed for good."""
    Table(
        "gearman_dead",
        MetaData(),
        Column("id", _id(), primary_key=True, autoincrement=False),
        Column("priority", SmallInteger(), nullable=False),
        Column("failures", Integer(), nullable=False),
        Column("losses", Integer(), nullable=False),
        Column("submitted_at", _seconds(), nullable=False),
        Column("first_started_at", _seconds(), nullable=False),
        Column("last_started_at", _seconds(), nullable=False),
        Column("died_at", _seconds(), nullable=False),
        Column("handle", _bytes(64), nullable=False),
        Column("function_name", _bytes(8192), nullable=False),
        Column("unique_key", _bytes(64), nullable=False),
        Column("reducer", _bytes(64)),
        Column("error", _workload(), nullable=False),
        Column("traceback", _workload(), nullable=False),
        Column("workload", _workload(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_results(connection: Connection) -> None:
    """Version 3: results of background jobs."""
    Table(
        "gearman_results",
        MetaData(),
        Column("id", _id(), primary_key=True, autoincrement=False),
        Column("ended_at", _seconds(), nullable=False),
        Column("expires_at", _seconds(), nullable=False),
        Column("lost_bytes", BigInteger(), nullable=False),
        Column("handle", _bytes(64), nullable=False),
        Column("function_name", _bytes(8192), nullable=False),
        Column("ending", _bytes(16), nullable=False),
        Column("numerator", _workload(), nullable=False),
        Column("denominator", _workload(), nullable=False),
        Column("content", _workload(), nullable=False),
        Column("reports", _workload(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_schedules(connection: Connection) -> None:
    """Version 4: the marks of schedules."""
    Table(
        "gearman_schedules",
        MetaData(),
        Column("name", String(64), primary_key=True),
        Column("timing", String(400), nullable=False),
        Column("handled_until", _seconds(), nullable=False),
        Column("last_run", _seconds()),
        mysql_engine="InnoDB",
        mysql_collate="utf8mb4_bin",
    ).create(connection, checkfirst=True)


STEPS: Final[tuple[Callable[[Connection], None], ...]] = (
    _create_jobs,
    _create_dead,
    _create_results,
    _create_schedules,
)


def migrate(connection: Connection, name: str) -> None:
    """Bring the database to the newest version.

    Raises:
        StartError: a newer gearman-server has written it.
    """
    _create_meta(connection)
    version = int(read_meta(connection, _VERSION) or 0)
    if version > len(STEPS):
        raise StartError(
            f"the store {name} has version {version}, this gearman-server knows version {len(STEPS)}: use a newer one"
        )
    for number, step in enumerate(STEPS[version:], version + 1):
        step(connection)
        write_meta(connection, _VERSION, str(number))
        connection.commit()


def _create_meta(connection: Connection) -> None:
    if not inspect(connection).has_table(META):
        Table(
            META,
            MetaData(),
            Column("name", String(64), primary_key=True),
            Column("content", String(255), nullable=False),
            mysql_engine="InnoDB",
        ).create(connection, checkfirst=True)
        connection.commit()


def read_meta(connection: Connection, name: str) -> str | None:
    """Read one of the store's own facts."""
    found: str | None = connection.execute(
        text(f"SELECT content FROM {META} WHERE name = :name"), {"name": name}
    ).scalar()
    return found


def write_meta(connection: Connection, name: str, content: str) -> None:
    """Set one of the store's own facts; the caller commits."""
    found = {"name": name, "content": content}
    if not connection.execute(text(f"UPDATE {META} SET content = :content WHERE name = :name"), found).rowcount:
        connection.execute(text(f"INSERT INTO {META} (name, content) VALUES (:name, :content)"), found)
