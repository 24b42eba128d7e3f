"""A cluster under random faults, and the history of its jobs: what was acknowledged has run, what was refused has not,
and a job has run twice only if something happened to a server while it ran, or right after. Every statement of most
servers, and every answer, is late by a random time.

`make soak-cluster` runs it for an hour. The seed is in the failure's text.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stores.proxy import Proxy
from ..stream_peer import StreamPeer
from .conftest import Cluster

WORKER = Path(__file__).parent.parent / "stores" / "killed_worker.py"
#: The short form has no time for both.
KINDS = ["postgresql", "mysql"] if "GEARMAN_CLUSTER_SOAK_S" in os.environ else ["postgresql"]
SECONDS = float(os.environ.get("GEARMAN_CLUSTER_SOAK_S", "12"))
#: Each statement to the database, and each answer, is late by up to this: for no two servers alike, so that each does
#: meanwhile what the others do not expect.
DELAYS_S = (0.0, 0.01, 0.03)
#: The same while a database is so slow that beats may come too late.
SLOW_S = 0.5
#: The end of a job is stored within 50 ms; time for delayed statements, and for a busy machine, beside.
STORED_S = 1.5


class Place:
    """A server at a port of its own, with its own way to the database, whichever process is there."""

    def __init__(self, cluster: Cluster, port: int, delay_s: float, seed: int) -> None:
        url = make_url(cluster.database.url)
        assert url.port is not None
        self.proxy = Proxy(url.port)
        self.proxy.chance.seed(seed + port)
        self.proxy.delay_s = self.delay_s = delay_s
        self.port = port
        self._cluster = cluster
        self._url = url.set(port=self.proxy.port).render_as_string(hide_password=False)
        self.server = self._begin()

    def _begin(self) -> ServerProcess:
        return self._cluster.start("--port", str(self.port), url=self._url)

    def begin_again(self) -> None:
        """Start another process here."""
        self.server.wait()
        self.server = self._begin()


class History:
    """What clients were told, what workers did, and when something happened to a server."""

    def __init__(self, journal: Path) -> None:
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        #: From when to when.
        self.faults: list[tuple[float, float]] = []
        self._journal = journal

    def runs(self) -> dict[str, list[float]]:
        """The times at which each job was begun."""
        runs: dict[str, list[float]] = {}
        for line in self._journal.read_text().splitlines():
            workload, at = line.split()
            runs.setdefault(workload, []).append(float(at))
        return runs

    def check(self) -> None:
        """The rules."""
        runs = self.runs()
        assert not self.acknowledged - runs.keys(), "acknowledged, and never run"
        assert not self.refused & runs.keys(), "refused, and run all the same"
        for workload, times in runs.items():
            for begun, _again in zip(sorted(times), sorted(times)[1:], strict=False):
                excuse = any(since - STORED_S < begun < until + STORED_S for since, until in self.faults)
                assert excuse, f"{workload} has run twice, at {times}, and nothing had happened"


def submit_for_ever(place: Place, name: str, history: History, is_over: threading.Event) -> None:
    """Submit jobs there, one after the other, whatever happens."""
    number = 0
    while not is_over.is_set():
        try:
            with socket.create_connection(("127.0.0.1", place.port), timeout=20) as connection:
                peer = StreamPeer(connection)
                while not is_over.wait(0.004):
                    number += 1
                    workload = f"{name}-{number}"
                    packet_type, _ = peer.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", workload.encode())
                    told = history.acknowledged if packet_type == PacketType.JOB_CREATED else history.refused
                    told.add(workload)
        except OSError:
            time.sleep(0.05)


def harm(place: Place, chance: random.Random) -> None:
    """Something happens to a server, and is over when this returns."""
    server, kind = place.server, chance.choice(("kill", "kill", "stop", "stand", "cut", "stall", "slow"))
    if kind in ("kill", "stop"):
        server.signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        server.process.wait()
        time.sleep(chance.uniform(0.0, 1.5))
        place.begin_again()
    elif kind == "stand":
        server.signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 3.0))
        server.signal(signal.SIGCONT)
    elif kind == "slow":
        place.proxy.delay_s = SLOW_S
        time.sleep(chance.uniform(0.5, 3.0))
        place.proxy.delay_s = place.delay_s
        time.sleep(SLOW_S)  # what is late is through then
    else:
        (place.proxy.cut if kind == "cut" else place.proxy.stall)()
        time.sleep(chance.uniform(0.1, 3.0))
        place.proxy.heal()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Starts workers, which write into a journal."""
    journal = tmp_path / "journal"
    journal.touch()
    processes: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> Path:
        processes.extend(subprocess.Popen([sys.executable, WORKER, str(port), journal]) for _ in range(2))
        return journal

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("cluster", KINDS, indirect=True)
def test_no_history_breaks_the_rules(
    cluster: Cluster, free_ports: Callable[[int], list[int]], workers: Callable[[int], Path], until: Callable[..., None]
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    places = [Place(cluster, port, late_s, seed) for port, late_s in zip(free_ports(3), DELAYS_S, strict=True)]
    for place in places:
        journal = workers(place.port)
    history = History(journal)
    is_over = threading.Event()
    threads = [
        threading.Thread(target=submit_for_ever, args=(place, str(at), history, is_over), daemon=True)
        for at, place in enumerate(places)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            since = time.monotonic()
            harm(chance.choice(places), chance)
            history.faults.append((since, time.monotonic()))
            time.sleep(chance.uniform(0.2, 1.5))
    finally:
        is_over.set()
    for thread in threads:
        thread.join()
    assert history.acknowledged, f"seed {seed}"
    until(lambda: not history.acknowledged - history.runs().keys(), within_s=60.0)
    until(lambda: cluster.database.rows("id") == [], within_s=60.0)
    try:
        history.check()
    except AssertionError as failure:
        raise AssertionError(f"seed {seed}: {failure}") from failure
    for place in places:
        place.proxy.close()
    again = Counter(len(times) for times in history.runs().values())
    print(f"seed {seed}: {len(history.acknowledged)} acknowledged, {len(history.refused)} refused, runs: {again}")
