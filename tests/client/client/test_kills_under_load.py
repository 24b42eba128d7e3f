"""Two job servers, killed and restarted in turn while threads submit: no call that has time left fails or hangs.

`GEARMAN_KILL_ROUNDS` asks for another number of kills (`make soak-kills`).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from gearman_client import Address, Client, GearmanError, JobNotKnown, WorkerJob, WorkerSettings, connect_admin

from ...gearmand import Gearmand
from ...server.server_process import ServerProcess
from ..conftest import RunningWorker

ROUNDS = int(os.environ.get("GEARMAN_KILL_ROUNDS", "0"))
CALLERS = 6
TIMEOUT_S = 60.0
#: Patience of the test itself.
DEADLINE_S = 60.0
CALLS_BETWEEN_KILLS = 30


class Restarted(Protocol):
    """A job server that keeps its port over kills."""

    address: Address

    def kill(self) -> None: ...

    def start(self) -> None: ...


class OurServer:
    """Our server with a durable store."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.address = Address("127.0.0.1", self._port)
        self._store = f"sqlite:///{folder}/jobs.sqlite"
        self._process: ServerProcess | None = None

    def start(self) -> None:
        self._process = ServerProcess("-L", "127.0.0.1", "-p", str(self._port), "--store", self._store)

    def kill(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


class Caller(threading.Thread):
    """Makes one call after the other, and keeps what became of each."""

    def __init__(self, call: Callable[[str], object], number: int) -> None:
        super().__init__(daemon=True)
        self._call, self._number = call, number
        self.accepted: list[str] = []
        self.not_known: list[str] = []
        self.errors: list[GearmanError] = []
        self.longest_s = 0.0
        self.is_told_to_stop = threading.Event()
        self.start()

    def run(self) -> None:
        count = 0
        while not self.is_told_to_stop.is_set():
            count += 1
            workload = f"{self._number}-{count}"
            begun = time.monotonic()
            try:
                self._call(workload)
                self.accepted.append(workload)
            except JobNotKnown:
                self.not_known.append(workload)
            except GearmanError as error:
                self.errors.append(error)
            self.longest_s = max(self.longest_s, time.monotonic() - begun)


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_S} s"
        time.sleep(0.002)


def is_served(server: Restarted) -> bool:
    try:
        with connect_admin(server.address) as admin:
            return any(row.function == "f" and row.workers for row in admin.status())
    except GearmanError:
        return False


def kill_in_turn(servers: list[Restarted], rounds: int, callers: list[Caller]) -> None:
    """Kill one server after the other, each while calls go on at it, and only while the other one is served."""

    def calls() -> int:
        return sum(len(caller.accepted) for caller in callers)

    for number in range(rounds):
        victim = servers[number % 2]
        eventually(lambda: all(map(is_served, servers)), "a worker at both servers")
        before = calls()
        eventually(lambda before=before: calls() >= before + CALLS_BETWEEN_KILLS, "calls between two kills")  # type: ignore[misc]
        victim.kill()
        before = calls()
        eventually(lambda before=before: calls() >= before + CALLERS, "calls while a server is down")  # type: ignore[misc]
        victim.start()
    for caller in callers:
        caller.is_told_to_stop.set()
    for caller in callers:
        caller.join(DEADLINE_S)
        assert not caller.is_alive(), "a call never returned"


@pytest.fixture
def two_gearmands(start_gearmand: Callable[[], Gearmand]) -> list[Restarted]:
    return [start_gearmand(), start_gearmand()]


@pytest.fixture
def two_of_ours(tmp_path: Path) -> Iterator[list[Restarted]]:
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        servers.append(OurServer(tmp_path / name))
    for server in servers:
        server.start()
    yield list(servers)
    for server in servers:
        server.kill()


def test_no_foreground_call_fails_while_servers_are_killed(
    two_gearmands: list[Restarted], start_worker: Callable[..., RunningWorker]
) -> None:
    addresses = [server.address for server in two_gearmands]

    def work(job: WorkerJob) -> bytes:
        time.sleep(0.001)
        return job.workload[::-1]

    for _ in range(2):
        start_worker(addresses, {"f": work}, settings=WorkerSettings(max_backoff_s=0.2))
    with Client(addresses, timeout_s=TIMEOUT_S) as client:
        created: list[str] = []

        def call(workload: str) -> None:
            key = workload if workload.endswith(("1", "3", "5")) else None
            assert client.submit("f", workload, unique=key, on_created=created.append) == workload[::-1].encode()

        callers = [Caller(call, number) for number in range(CALLERS)]
        kill_in_turn(two_gearmands, ROUNDS or 50, callers)
    assert [str(error) for caller in callers for error in caller.errors] == []
    assert len(created) > sum(len(caller.accepted) for caller in callers), "no job was under way at any kill"
    assert all(caller.longest_s < TIMEOUT_S + 0.1 for caller in callers)


def test_every_background_job_that_was_acknowledged_runs_although_servers_are_killed(
    two_of_ours: list[Restarted], start_worker: Callable[..., RunningWorker]
) -> None:
    addresses = [server.address for server in two_of_ours]
    ran: set[str] = set()
    start_worker(
        addresses, {"f": lambda job: ran.add(job.workload.decode())}, settings=WorkerSettings(max_backoff_s=0.2)
    )
    with Client(addresses, timeout_s=TIMEOUT_S) as client:
        callers = [
            Caller(lambda workload: client.submit_background("f", workload), number) for number in range(CALLERS)
        ]
        kill_in_turn(two_of_ours, ROUNDS or 6, callers)
        acknowledged = {workload for caller in callers for workload in caller.accepted}
        eventually(lambda: acknowledged <= ran, "the run of every acknowledged job")
    assert [str(error) for caller in callers for error in caller.errors] == []
    # A job is not known only if its connection broke between request and answer: at most one of each caller at a kill.
    assert sum(len(caller.not_known) for caller in callers) <= CALLERS * (ROUNDS or 6)
    assert all(caller.longest_s < TIMEOUT_S + 0.1 for caller in callers)
