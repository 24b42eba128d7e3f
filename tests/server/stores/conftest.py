"""Fixtures for the tests of the durable stores: a database for each test, and servers that keep jobs in it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ...databases import MAKERS, pooled_by
from ...databases import StoreDatabase as StoreDatabase
from ...small_disk import mounted_disk
from ..server_process import ServerProcess


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreDatabase]:
    """An empty database: SQLite, or with the mark `in_every_database` each kind in turn."""
    yield from getattr(request, "param", MAKERS["sqlite"])(tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Starting a server takes a while, so only tests of differences between databases run with all of them."""
    if "database" in metafunc.fixturenames and metafunc.definition.get_closest_marker("in_every_database"):
        metafunc.parametrize("database", MAKERS.values(), ids=MAKERS, indirect=True)


@pytest.fixture
def database_of(tmp_path: Path) -> Iterator[Callable[[str], StoreDatabase]]:
    """Makes a database of a kind: `database_of("mysql")`."""
    with contextlib.ExitStack() as stack:
        yield lambda kind: stack.enter_context(contextlib.contextmanager(MAKERS[kind])(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a 64 MiB disk of its own; SQLite's log takes at most 32 of them."""
    with mounted_disk(tmp_path / "disk", "64m") as folder:
        yield folder


@pytest.fixture
def database_in() -> Callable[[Path], StoreDatabase]:
    """The URL of a SQLite database in a folder: `database_in(tmp_path)`."""
    return lambda folder: next(MAKERS["sqlite"](folder))


class Disk:
    """Environment variables for a server so that its disk can be watched and broken (`disk.c`)."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._flushes = folder / "flushes"
        #: While this file exists, the server can write nothing in its folder.
        self.read_only = folder / "read-only"
        #: While this file exists, the server can write there, and not make sure of what it wrote.
        self.fails = folder / "fails"
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_FLUSHES": str(self._flushes),
            "DISK_READ_ONLY": str(self.read_only),
            "DISK_FAILS": str(self.fails),
        }

    @property
    def flushes(self) -> int:
        """The number of flushes that the server has asked for."""
        return self._flushes.stat().st_size


@pytest.fixture(scope="module")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is missing (Debian: gcc)")
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    flags = ["-shared", "-fPIC", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", library, source, "-ldl"], timeout=60, check=True)
    return library


@pytest.fixture
def disk(disk_library: Path, tmp_path: Path) -> Disk:
    """The disk under the test's folder: `start_durable(database, **disk.environment)`."""
    (tmp_path / "watched").mkdir()
    return Disk(disk_library, tmp_path / "watched")


@pytest.fixture
def start_durable(start_server: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    """Starts real servers over a database: `start_durable(database)`."""

    def start(database: StoreDatabase, *options: str, **environment: str) -> ServerProcess:
        always = ("--store", database.url, "--job-handle-prefix", "H:test", "--verbose", "NOTICE")
        return start_server(*always, *options, **environment)

    return start


@pytest.fixture(params=["transaction", "session"])
def pooled(
    request: pytest.FixtureRequest,
    database_of: Callable[[str], StoreDatabase],
    free_port: int,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
) -> Iterator[tuple[StoreDatabase, str]]:
    """A database, and its URL by way of a pooler."""
    database = database_of("postgresql")
    with pooled_by(database, free_port, request.param, tmp_path / "log", until) as url:
        yield database, url
