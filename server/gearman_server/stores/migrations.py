"""The schema as numbered steps: a new database runs all of them, an old one those that it has not run.

A released step never changes. Each can be run again after it broke off, because MySQL commits every DDL statement by
itself.
"""

from __future__ import annotations

import secrets
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
#: The fact that names the cluster whose servers share the store; there is none if it has one server.
CLUSTER: Final = "cluster"
VERSION: Final = "version"
STORE_ID: Final = "store_id"


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


def _add_options(connection: Connection) -> None:
    """Version 5: the options that jobs brought along. No row is touched, however many there are."""
    for name in ("gearman_jobs", "gearman_dead"):
        if all(column["name"] != "options" for column in inspect(connection).get_columns(name)):
            kind = _workload().compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN options {kind}")


def _create_keys(connection: Connection) -> None:
    """Version 6: keys that outlive their jobs."""
    Table(
        "gearman_keys",
        MetaData(),
        Column("kind", SmallInteger(), primary_key=True, autoincrement=False),
        Column("id", BigInteger(), primary_key=True, autoincrement=False),
        Column("known_until", _seconds(), nullable=False),
        Column("handle", _bytes(64), nullable=False),
        Column("function_name", _bytes(8192), nullable=False),
        Column("known_key", _bytes(64), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_functions(connection: Connection) -> None:
    """Version 7: the pauses of functions. A name is too long for an index, and the table is small."""
    Table(
        "gearman_functions",
        MetaData(),
        Column("id", _id(), primary_key=True, autoincrement=True),
        Column("function_name", _bytes(8192), nullable=False),
        Column("paused_at", _seconds(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_batches(connection: Connection) -> None:
    """Version 8: batches of jobs, and how many of their jobs have ended in which way."""
    counts = ("complete", "failed", "expired", "cancelled", "stopped")
    Table(
        "gearman_batches",
        MetaData(),
        Column("name", _bytes(64), primary_key=True),
        Column("state", SmallInteger(), nullable=False),
        Column("is_cancelled", SmallInteger(), nullable=False),
        Column("opened_at", _seconds(), nullable=False),
        Column("closed_at", _seconds()),
        Column("ended_at", _seconds()),
        Column("callbacks", _workload(), nullable=False),
        Column("unwritten", _workload(), nullable=False),
        *(Column(name, BigInteger(), nullable=False) for name in counts),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_cursors(connection: Connection) -> None:
    """Version 9: how far running jobs have come."""
    Table(
        "gearman_cursors",
        MetaData(),
        Column("id", BigInteger(), primary_key=True, autoincrement=False),
        Column("job_cursor", _workload(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _create_servers(connection: Connection) -> None:
    """Version 10: the servers that share the store, if any do, and their beats."""
    Table(
        "gearman_servers",
        MetaData(),
        Column("id", BigInteger(), primary_key=True, autoincrement=False),
        Column("name", String(255), nullable=False),
        Column("address", String(255), nullable=False),
        Column("version", String(64), nullable=False),
        Column("state", SmallInteger(), nullable=False),
        Column("fence", BigInteger(), nullable=False),
        Column("started_at", _seconds(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)
    Table(
        "gearman_beats",
        MetaData(),
        Column("id", BigInteger(), primary_key=True, autoincrement=False),
        Column("beat", BigInteger(), nullable=False),
        Column("facts", _workload(), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _give_id(connection: Connection) -> None:
    """Version 11: an id of the store, by which workers know whose jobs' handles these are."""
    if read_meta(connection, STORE_ID) is None:
        write_meta(connection, STORE_ID, secrets.token_hex(8))


def _create_shared_keys(connection: Connection) -> None:
    """Version 12: keys that all servers of a cluster know, by their SHA-256."""
    Table(
        "gearman_shared_keys",
        MetaData(),
        Column("digest", _bytes(32), primary_key=True),
        Column("kind", SmallInteger(), nullable=False),
        Column("known_until", _seconds(), nullable=False),
        Column("handle", _bytes(64), nullable=False),
        mysql_engine="InnoDB",
    ).create(connection, checkfirst=True)


def _add_batch_jobs(connection: Connection) -> None:
    """Version 13: how many jobs a batch has, which servers of a cluster count in its row."""
    if all(column["name"] != "jobs" for column in inspect(connection).get_columns("gearman_batches")):
        connection.exec_driver_sql("ALTER TABLE gearman_batches ADD COLUMN jobs BIGINT")


def _add_pauses_of_schedules(connection: Connection) -> None:
    """Version 14: the handle of a schedule's last job, and since when it is paused."""
    known = {column["name"] for column in inspect(connection).get_columns("gearman_schedules")}
    for column in (Column("last_handle", _bytes(64)), Column("paused_at", _seconds())):
        if column.name not in known:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE gearman_schedules ADD COLUMN {column.name} {kind}")


STEPS: Final[tuple[Callable[[Connection], None], ...]] = (
    _create_jobs,
    _create_dead,
    _create_results,
    _create_schedules,
    _add_options,
    _create_keys,
    _create_functions,
    _create_batches,
    _create_cursors,
    _create_servers,
    _give_id,
    _create_shared_keys,
    _add_batch_jobs,
    _add_pauses_of_schedules,
)


def migrate(connection: Connection, name: str, *, in_parts: bool = True) -> None:
    """Bring the database to the newest version; `in_parts`: each step is committed, and the caller commits nothing.

    Raises:
        StartError: a newer gearman-server has written it.
    """
    _create_meta(connection)
    if in_parts:
        connection.commit()
    version = int(read_meta(connection, VERSION) or 0)
    if version > len(STEPS):
        raise StartError(
            f"the store {name} has version {version}, this gearman-server knows version {len(STEPS)}: use a newer one"
        )
    for number, step in enumerate(STEPS[version:], version + 1):
        step(connection)
        write_meta(connection, VERSION, str(number))
        if in_parts:
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


def read_meta(connection: Connection, name: str, *, for_update: bool = False) -> str | None:
    """Read one of the store's own facts; `for_update`: nobody else changes it before the transaction ends."""
    query = f"SELECT content FROM {META} WHERE name = :name" + (" FOR UPDATE" if for_update else "")
    found: str | None = connection.execute(text(query), {"name": name}).scalar()
    return found


def write_meta(connection: Connection, name: str, content: str) -> None:
    """Set one of the store's own facts; the caller commits."""
    found = {"name": name, "content": content}
    if not connection.execute(text(f"UPDATE {META} SET content = :content WHERE name = :name"), found).rowcount:
        connection.execute(text(f"INSERT INTO {META} (name, content) VALUES (:name, :content)"), found)
