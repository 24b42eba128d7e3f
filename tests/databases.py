"""Real databases for tests: SQLite, PostgreSQL and MySQL, a fresh one for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

POSTGRESQL = os.environ.get("GEARMAN_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
MYSQL = os.environ.get("GEARMAN_TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306/test")


class StoreDatabase:
    """A database that no other test uses: its URL for a server, and access to its contents."""

    def __init__(self, url: URL) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.kind = url.get_backend_name()
        self._engine = create_engine(url, poolclass=NullPool)

    @property
    def file(self) -> str:
        """The file of a SQLite database."""
        path = make_url(self.url).database
        assert path is not None
        return path

    def connect(self) -> Connection:
        return self._engine.connect()

    def rows(self, columns: str = "*", table: str = "gearman_jobs ORDER BY id") -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM {table}"))]

    def execute(self, statement: str) -> None:
        with self.connect() as connection, connection.begin():
            connection.execute(text(statement))

    def terminate_others(self) -> int:
        """End all other connections to the database; returns their number."""
        with self.connect() as connection:
            if self.kind == "postgresql":
                others = "application_name = current_schema() AND pid <> pg_backend_pid()"
                ended = connection.execute(
                    text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
                )
                return len(ended.all())
            found = connection.execute(
                text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
            ).all()
            for (number,) in found:
                with contextlib.suppress(DBAPIError):  # it has just ended
                    connection.execute(text(f"KILL {number}"))
            return len(found)


def _administered(url: str, variable: str) -> Connection:
    try:
        return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
    except OperationalError as failure:
        pytest.skip(f"{variable}: no database there: {failure.orig}")


def _sqlite(folder: Path) -> Iterator[StoreDatabase]:
    yield StoreDatabase(make_url(f"sqlite:///{folder / 'jobs.db'}"))


def _postgresql(_folder: Path) -> Iterator[StoreDatabase]:
    schema = f"gearman_{uuid.uuid4().hex}"
    with _administered(POSTGRESQL, "GEARMAN_TEST_POSTGRESQL_URL") as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield StoreDatabase(
            make_url(POSTGRESQL).update_query_dict({"options": f"-csearch_path={schema}", "application_name": schema})
        )
        connection.execute(text("SET client_min_messages TO error"))
        # What a killed server's session is still doing would get in the way.
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :schema"
        connection.execute(text(ended), {"schema": schema})
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


def _mysql(_folder: Path) -> Iterator[StoreDatabase]:
    name = f"gearman_{uuid.uuid4().hex}"
    with _administered(MYSQL, "GEARMAN_TEST_MYSQL_URL") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield StoreDatabase(make_url(MYSQL).set(database=name))
        connection.execute(text(f"DROP DATABASE {name}"))


MAKERS = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql}


@contextlib.contextmanager
def pooled_by(
    database: StoreDatabase, port: int, mode: str, log: Path, until: Callable[[Callable[[], bool]], object]
) -> Iterator[str]:
    """The URL of a PostgreSQL database by way of PgBouncer on this port; mode is `transaction` or `session`."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("PgBouncer is missing (Debian: pgbouncer)")
    url = make_url(database.url)
    schema = url.query["application_name"]
    # PgBouncer does not run as root, and another user can't look into the test's folder.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    users, settings = folder / "users", folder / "pgbouncer.ini"
    users.write_text(f'"{url.username}" "{url.password or ""}"\n')
    target = f"host={url.host} port={url.port or 5432} dbname={url.database}"
    lines = [
        "[databases]",
        f"store = {target} connect_query='SET search_path TO {schema}'",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {users}",
        f"pool_mode = {mode}",
        "ignore_startup_parameters = extra_float_digits",
    ]
    settings.write_text("\n".join(lines))
    with log.open("wb") as output:
        user = "nobody" if os.geteuid() == 0 else None
        pooler = subprocess.Popen([program, settings], stderr=output, user=user)
    try:
        until(lambda: "process up" in log.read_text())
        yield f"{url.drivername}://{url.username}@127.0.0.1:{port}/store"
    finally:
        pooler.kill()
        pooler.wait()
        shutil.rmtree(folder)
