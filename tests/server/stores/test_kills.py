"""kill -9 at random moments, of the server, a worker, or both: every acknowledged job runs, and only the jobs under way
at a kill run twice.

Four submitters and two workers never stop. `GEARMAN_KILL_ROUNDS` asks for more rounds (`make soak`).
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

from ..server_process import ServerProcess
from .conftest import StoreDatabase

#: Rounds of the test of checkpoints: each lasts as long as a state may be unsettled.
WALKS = 5
ROUNDS = {"sqlite": 20, "postgresql": 5, "mysql": 5}
SUBMITTERS = 4
WORKERS = 2
IN_FLIGHT = 5
#: For this long after a job is done the server may not have written that yet: 50 ms, and more on a busy machine.
UNSETTLED_S = 0.5
DEADLINE_S = 30.0


class Submitter(threading.Thread):
    """Submits background jobs, some at once, and records the acknowledged ones with their handles."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__()
        self._number, self._port = number, port
        self._sent = 0
        self.acknowledged: dict[bytes, bytes] = {}
        self.errors: list[bytes] = []
        self.is_told_to_stop = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.is_told_to_stop.is_set():
            try:
                self._converse()
            except OSError:
                self.is_told_to_stop.wait(0.005)

    def _converse(self) -> None:
        parser = PacketParser(RESPONSE_MAGIC)
        with socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE_S) as connection:
            while not self.is_told_to_stop.is_set():
                workloads = [b"%d-%d" % (self._number, self._sent + at) for at in range(IN_FLIGHT)]
                self._sent += IN_FLIGHT
                connection.sendall(
                    b"".join(encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", workload) for workload in workloads)
                )
                answers: list[tuple[int, bytes]] = []
                while len(answers) < IN_FLIGHT:
                    data = connection.recv(65536)
                    if not data:
                        raise ConnectionResetError
                    for answer in parser.feed(data):
                        self._note(workloads[len(answers)], *answer)
                        answers.append(answer)
                self.is_told_to_stop.wait(0.01)

    def _note(self, workload: bytes, packet_type: int, body: bytes) -> None:
        if packet_type == PacketType.JOB_CREATED:
            self.acknowledged[workload] = body
        else:
            self.errors.append(body)


class Scene:
    """The server, its submitters and workers, and the kills so far."""

    def __init__(self, start_server: Callable[..., ServerProcess], folder: Path, port: int) -> None:
        self._start_server = start_server
        self._journal = folder / "journal"
        self._port = port
        self.kills: list[float] = []
        self.server = start_server()
        self._workers = [self._worker() for _ in range(WORKERS)]
        self.submitters = [Submitter(number, port) for number in range(SUBMITTERS)]

    def _worker(self) -> subprocess.Popen[bytes]:
        program = Path(__file__).with_name("killed_worker.py")
        return subprocess.Popen([sys.executable, str(program), str(self._port), str(self._journal)])

    def kill_server(self) -> None:
        self.kills.append(time.monotonic())
        self.server.process.kill()
        self.server.stop()
        self.server = self._start_server()
        self.kills.append(time.monotonic())  # in between no state could settle

    def kill_worker(self) -> None:
        self.kills.append(time.monotonic())
        self._workers[0].kill()
        self._workers[0].wait()
        self._workers = [*self._workers[1:], self._worker()]

    def kill_both(self) -> None:
        self._workers[0].kill()
        self.kill_server()
        self.kill_worker()

    def runs(self) -> dict[bytes, list[float]]:
        """The times at which each job ran."""
        runs: defaultdict[bytes, list[float]] = defaultdict(list)
        if self._journal.exists():
            for line in self._journal.read_bytes().splitlines():
                workload, at = line.split()
                runs[workload].append(float(at))
        return runs

    def stop_submitters(self) -> None:
        for submitter in self.submitters:
            submitter.is_told_to_stop.set()
        for submitter in self.submitters:
            submitter.join(DEADLINE_S)

    def stop(self) -> None:
        self.stop_submitters()
        for worker in self._workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def scene(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], tmp_path: Path, free_port: int
) -> Iterator[Scene]:
    opened = Scene(lambda: start_durable(database, "-p", str(free_port)), tmp_path, free_port)
    yield opened
    opened.stop()


@pytest.mark.in_every_database
@pytest.mark.timeout(3600 if "GEARMAN_KILL_ROUNDS" in os.environ else 120)
def test_every_acknowledged_job_runs_whatever_is_killed(
    scene: Scene, database: StoreDatabase, until: Callable[[Callable[[], bool]], None]
) -> None:
    dice = random.Random()
    kills = (scene.kill_server, scene.kill_worker, scene.kill_both)
    for round_ in range(int(os.environ.get("GEARMAN_KILL_ROUNDS", ROUNDS[database.kind]))):
        time.sleep(dice.uniform(0.02, 0.25))
        kills[round_ % len(kills)]()
    scene.stop_submitters()
    acknowledged = {workload: handle for one in scene.submitters for workload, handle in one.acknowledged.items()}
    assert len(acknowledged) > 100
    assert [one.errors for one in scene.submitters] == [[]] * SUBMITTERS
    assert len(set(acknowledged.values())) == len(acknowledged), "a handle came twice"
    until(lambda: acknowledged.keys() <= scene.runs().keys())
    until(lambda: database.rows("id") == [])
    for workload, times in scene.runs().items():
        for at in times[:-1]:
            assert any(kill - UNSETTLED_S < at < kill + UNSETTLED_S for kill in scene.kills), (workload, times)


@pytest.mark.timeout(3600 if "GEARMAN_KILL_ROUNDS" in os.environ else 120)
def test_no_checkpoint_is_lost_whatever_is_killed(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    tmp_path: Path,
    free_port: int,
    until: Callable[[Callable[[], bool]], None],
) -> None:
    """An attempt begins at the last checkpoint that was sent so long before the kill that it was surely written."""
    journal = tmp_path / "journal"
    program = Path(__file__).with_name("killed_walker.py")

    def start_walker() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(program), str(free_port), str(journal)])

    def lines() -> list[list[bytes]]:
        return [line.split() for line in journal.read_bytes().splitlines()] if journal.exists() else []

    dice = random.Random()
    server, walker = start_durable(database, "-p", str(free_port)), start_walker()
    try:
        server.peer().ask(PacketType.SUBMIT_JOB_BG, b"walk", b"", b"w")
        for round_ in range(int(os.environ.get("GEARMAN_KILL_ROUNDS", WALKS))):
            begun = len(lines())
            until(lambda begun=begun: len(lines()) > begun + 5)  # type: ignore[misc]
            time.sleep(UNSETTLED_S + dice.uniform(0, 0.2))
            killed_at = time.monotonic()
            if round_ % 3 != 1:
                server.process.kill()
                server.stop()
            if round_ % 3 != 0:
                walker.kill()
                walker.wait()
            sent = lines()
            if round_ % 3 != 1:
                server = start_durable(database, "-p", str(free_port))
            if round_ % 3 != 0:
                walker = start_walker()
            written = max(int(at) for at, time_ in sent if at != b"begin" and float(time_) < killed_at - UNSETTLED_S)
            until(lambda sent=sent: any(line[0] == b"begin" for line in lines()[len(sent) :]))  # type: ignore[misc]
            begin = next(int(line[1]) for line in lines()[len(sent) :] if line[0] == b"begin")
            last = max(int(at) for at, *_ in lines() if at != b"begin")
            assert written <= begin <= last, (round_, written, begin, last)
    finally:
        walker.kill()
        walker.wait()
