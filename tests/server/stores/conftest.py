"""Fixtures for the tests of the durable stores: a database for each test, and servers that keep jobs in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from ...small_disk import mounted_disk
from ..server_process import ServerProcess

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
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


def _mysql(_folder: Path) -> Iterator[StoreDatabase]:
    name = f"gearman_{uuid.uuid4().hex}"
    with _administered(MYSQL, "GEARMAN_TEST_MYSQL_URL") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield StoreDatabase(make_url(MYSQL).set(database=name))
        connection.execute(text(f"DROP DATABASE {name}"))


_MAKERS = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql}


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreDatabase]:
    """An empty database: SQLite, or with the mark `in_every_database` each kind in turn."""
    yield from getattr(request, "param", _sqlite)(tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Starting a server takes a while, so only tests of differences between databases run with all of them."""
    if "database" in metafunc.fixturenames and metafunc.definition.get_closest_marker("in_every_database"):
        metafunc.parametrize("database", _MAKERS.values(), ids=_MAKERS, indirect=True)


@pytest.fixture
def database_of(tmp_path: Path) -> Iterator[Callable[[str], StoreDatabase]]:
    """Makes a database of a kind: `database_of("mysql")`."""
    with contextlib.ExitStack() as stack:
        yield lambda kind: stack.enter_context(contextlib.contextmanager(_MAKERS[kind])(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a 64 MiB disk of its own; SQLite's log takes at most 32 of them."""
    with mounted_disk(tmp_path / "disk", "64m") as folder:
        yield folder


@pytest.fixture
def database_in() -> Callable[[Path], StoreDatabase]:
    """The URL of a SQLite database in a folder: `database_in(tmp_path)`."""
    return lambda folder: next(_sqlite(folder))


class Disk:
    """Environment variables for a server so that its disk can be watched and broken (`disk.c`)."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._flushes = folder / "flushes"
        #: While this file exists, the server can write nothing in its folder.
        self.read_only = folder / "read-only"
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_FLUSHES": str(self._flushes),
            "DISK_READ_ONLY": str(self.read_only),
        }

    @property
    def flushes(self) -> int:
        """The number of flushes that the server has asked for."""
        return self._flushes.stat().st_size


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """The disk under the test's folder: `start_durable(database, **disk.environment)`."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is missing (Debian: gcc)")
    library = tmp_path / "disk.so"
    source = Path(__file__).with_name("disk.c")
    flags = ["-shared", "-fPIC", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", library, source, "-ldl"], timeout=60, check=True)
    (tmp_path / "watched").mkdir()
    return Disk(library, tmp_path / "watched")


@pytest.fixture
def start_durable(start_server: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    """Starts real servers over a database: `start_durable(database)`."""

    def start(database: StoreDatabase, *options: str, **environment: str) -> ServerProcess:
        always = ("--store", database.url, "--job-handle-prefix", "H:test", "--verbose", "NOTICE")
        return start_server(*always, *options, **environment)

    return start
