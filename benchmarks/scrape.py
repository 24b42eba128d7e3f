"""Scrapes of a manager with two hundred pools: what one costs the supervisor, and how long its loop stands still.

Each pool has a worker and a function, and each function has had a job. A second process sends requests for nothing to
the control socket meanwhile: they are answered at the loop's next turn.
"""

from __future__ import annotations

import http.client
import multiprocessing
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from running_manager import RunningManager, manager, wait_until
from scope import Scope

from gearman_client import Client

POOLS: Final = 200
SCRAPES: Final = 20
PROBE_S: Final = 5.0
PROBE_EVERY_S: Final = 0.001
MOST_CPU_MS, MOST_STALL_MS = 20.0, 20.0
FORMATS: Final = {"text": "", "OpenMetrics": "application/openmetrics-text;version=1.0.0"}
#: By name of a row, the further keys of the section `server`.
ROWS: Final = {"the manager's alone": "", "with the job server's": ", metrics_listen: 127.0.0.1:0"}
_MODULE: Final = "def {name}(job):\n    return b''\n"


class Figures(NamedTuple):
    """The costs of scrapes in one format."""

    cpu_ms: float  #: of the supervisor, for one scrape
    took_ms: float
    size_kb: float
    quiet_ms: float  #: the longest answer to a probe without scrapes
    p99_ms: float  #: of probes while one scrape follows the other
    longest_ms: float


class _Socket(http.client.HTTPConnection):
    """A connection to a control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def get(self, resource: str, accept: str = "") -> bytes:
        self.request("GET", resource, headers={"Accept": accept} if accept else {})
        return self.getresponse().read()


def _cpu_s(pid: int) -> float:
    """The processor time of all threads of a process, which the scheduler counts in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _probe(path: Path, commands: Connection) -> None:
    """Send one request after another, and report their times when told to stop."""
    connection, times_s = _Socket(path), list[float]()
    connection.get("/nothing")
    commands.send("ready")
    while not commands.poll(PROBE_EVERY_S):
        began = time.perf_counter()
        connection.get("/nothing")
        times_s.append(time.perf_counter() - began)
    commands.send(sorted(times_s))


def _probed(path: Path, accept: str | None) -> list[float]:
    """The sorted times of probes, in seconds, while one scrape follows the other; None: without scrapes."""
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=_probe, args=(path, theirs))
    prober.start()
    ours.recv()
    connection, until = _Socket(path), time.monotonic() + PROBE_S
    while time.monotonic() < until:
        if accept is None:
            time.sleep(0.1)
        else:
            connection.get("/metrics", accept)
    ours.send("stop")
    times_s: list[float] = ours.recv()
    prober.join()
    return times_s


def _measure(running: RunningManager, accept: str) -> Figures:
    path = running.folder / "run" / "control.sock"
    connection = _Socket(path)
    size_kb = len(connection.get("/metrics", accept)) / 1e3
    idle_cpu_s, began = _cpu_s(running.process.pid), time.monotonic()
    time.sleep(2)
    idle_share = (_cpu_s(running.process.pid) - idle_cpu_s) / (time.monotonic() - began)
    cpu_s, began = _cpu_s(running.process.pid), time.monotonic()
    for _ in range(SCRAPES):
        connection.get("/metrics", accept)
    took_s = time.monotonic() - began
    cpu_s = _cpu_s(running.process.pid) - cpu_s - idle_share * took_s
    quiet, scraped = _probed(path, None), _probed(path, accept)
    return Figures(
        cpu_s / SCRAPES * 1e3,
        took_s / SCRAPES * 1e3,
        size_kb,
        quiet[-1] * 1e3,
        scraped[int(len(scraped) * 0.99)] * 1e3,
        scraped[-1] * 1e3,
    )


def _settled(running: RunningManager) -> bool:
    pools = running.status()["pools"].values()
    return all(worker["state"] == "idle" for pool in pools for worker in pool["workers"]) and all(
        len(pool["workers"]) == 1 for pool in pools
    )


def _rounds(server: str, rounds: int) -> dict[str, list[Figures]]:
    """The figures of each round, by format."""
    names = [f"function_{number}" for number in range(POOLS)]
    pools = "".join(f"  pool_{name}: {{functions: [{name}], min: 1, max: 1}}\n" for name in names)
    modules = {f"{name}.py": _MODULE.format(name=name) for name in names}
    with manager(f"pools:\n{pools}", modules, server=server) as running:
        running.wait_for_control()
        wait_until(lambda: _settled(running), "every pool has its worker", every_s=0.5)
        with Client([running.address], timeout_s=60) as client:
            for name in names:
                client.submit(name, b"")
        return {name: [_measure(running, accept) for _ in range(rounds)] for name, accept in FORMATS.items()}


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(f"scrape: {row}")]
    if not rows:
        return
    yield f"Scrapes of a manager with {POOLS} pools of a worker each, medians of {scope.rounds} rounds"
    yield ""
    yield "| metrics | format | CPU, ms | bar | took, ms | kB | longest answer, quiet, ms | p99, scraped | longest | |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        for name, rounds in _rounds(ROWS[row], scope.rounds).items():
            figures = Figures(*(median(values) for values in zip(*rounds, strict=True)))
            is_met = figures.cpu_ms <= MOST_CPU_MS and figures.longest_ms <= max(MOST_STALL_MS, figures.quiet_ms)
            yield (
                f"| {row} | {name} | {figures.cpu_ms:.1f} | ≤ {MOST_CPU_MS:g} | {figures.took_ms:.1f}"
                f" | {figures.size_kb:.0f} | {figures.quiet_ms:.1f} | {figures.p99_ms:.1f} | {figures.longest_ms:.1f}"
                f" | {'ok' if is_met else 'MISSED'} |"
            )
