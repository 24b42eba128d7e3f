"""Real relays over real databases, and job servers whose jobs can be looked at."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gearman_client import outbox
from gearman_client.address import Address

from ...databases import MAKERS, StoreDatabase
from ...server.server_process import ServerProcess
from ...warm import WarmProcess
from ...warm import run as warm_run
from ...warm import start as warm_start
from ..conftest import DEADLINE_S, eventually


class OutboxServer:
    """A job server with a durable store, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._store = folder / "jobs.db"
        self._options = options
        self.process: ServerProcess | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, after a kill on the port that it had."""
        assert self.process is None
        always = (
            "-L",
            "127.0.0.1",
            "--store",
            f"sqlite:///{self._store}",
            "--job-handle-prefix",
            "H:test",
            "--verbose",
            "NOTICE",
        )
        self.process = ServerProcess(*always, "-p", str(self.port), *self._options)
        self.port = self.process.port

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.stop()
        self.process = None

    @property
    def address(self) -> str:
        return str(Address("127.0.0.1", self.port))

    def jobs(self) -> list[str]:
        """The workloads of all jobs, in the order in which the server took them."""
        with closing(sqlite3.connect(self._store)) as connection:
            found = connection.execute("SELECT workload FROM gearman_jobs ORDER BY id").fetchall()
        return [bytes(workload).decode() for (workload,) in found]


class RelayProcess:
    """A real `gearman-manager outbox`."""

    def __init__(self, url: str, log_file: Path, *options: str) -> None:
        self._log_file = log_file
        with log_file.open("ab") as log:
            words = ["outbox", url, *options]
            self.process: WarmProcess | subprocess.Popen[bytes] = warm_start(
                "gearman_manager", words, log
            ) or subprocess.Popen([sys.executable, "-m", "gearman_manager", *words], stdout=log, stderr=log)

    def log(self) -> str:
        return self._log_file.read_text()

    def wait_for_log(self, text: str) -> None:
        eventually(lambda: text in self.log() or self.process.poll() is not None, f"{text!r} in the relay's log")
        assert text in self.log()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(DEADLINE_S)


class Shop:
    """A program's database with an outbox."""

    def __init__(self, database: StoreDatabase) -> None:
        self.database = database
        with database.connect() as connection, connection.begin():
            outbox.create_table(connection)

    @property
    def url(self) -> str:
        return self.database.url

    def add(self, *workloads: str, function: str = "f", **options: Any) -> None:
        """Write jobs into the outbox, in one transaction."""
        with self.database.connect() as connection, connection.begin():
            for workload in workloads:
                outbox.background(connection, function, workload, **options)

    def rows(self, columns: str = "id") -> list[tuple[Any, ...]]:
        return self.database.rows(columns, "gearman_outbox ORDER BY id")

    def until_empty(self, within_s: float = DEADLINE_S) -> None:
        eventually(lambda: not self.rows(), "all rows are handed over", within_s)

    def until_aside(self, count: int) -> list[tuple[Any, ...]]:
        """Wait until so many rows are set aside; returns them."""
        columns = "id, function_name, server, reason"

        def aside() -> list[tuple[Any, ...]]:
            return self.database.rows(columns, "gearman_outbox WHERE is_aside <> 0 ORDER BY id")

        eventually(lambda: len(aside()) == count, f"{count} rows are set aside")
        return aside()

    def command(self, word: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `gearman-manager outbox WORD URL …`."""
        return warm_run("gearman_manager", ["outbox", word, self.url, *map(str, arguments)], 60)


@pytest.fixture(params=MAKERS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """An outbox in a database of each kind in turn."""
    for database in MAKERS[request.param](tmp_path):
        yield Shop(database)


@pytest.fixture
def small_shop(tmp_path: Path) -> Iterator[Shop]:
    """An outbox in SQLite."""
    for database in MAKERS["sqlite"](tmp_path):
        yield Shop(database)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., OutboxServer]]:
    """Starts durable job servers: `start_server("--policies", …)`."""
    started: list[OutboxServer] = []

    def start(*options: str) -> OutboxServer:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(OutboxServer(folder, *options))
        return started[-1]

    yield start
    for server in started:
        if server.process is not None:
            server.kill()


@pytest.fixture
def server(start_server: Callable[..., OutboxServer]) -> OutboxServer:
    """One durable job server."""
    return start_server()


@pytest.fixture
def start_relay(tmp_path: Path) -> Iterator[Callable[..., RelayProcess]]:
    """Starts relays: `start_relay(shop, server, …)`; instead of a shop there may be a URL."""
    started: list[RelayProcess] = []

    def start(shop: Shop | str, *servers: OutboxServer, options: tuple[str, ...] = ()) -> RelayProcess:
        addresses = ",".join(server.address for server in servers)
        log_file = tmp_path / f"relay{len(started)}.log"
        url = shop if isinstance(shop, str) else shop.url
        started.append(RelayProcess(url, log_file, "--servers", addresses, *options))
        return started[-1]

    yield start
    for relay in started:
        relay.kill()


def pause(seconds: float) -> None:
    """Let what runs in parallel go on for a while: for moments of faults, which are random."""
    time.sleep(seconds)
