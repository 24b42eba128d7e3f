"""Scrapes of a manager with two hundred pools: what one costs the supervisor, and how long it holds the loop.

Each pool has a worker and a function, and each function has had a job. The loop is watched in a run of its own, since
that costs something too.
"""

from __future__ import annotations

import http.client
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import traced_manager
from running_manager import BIN, RunningManager, manager, wait_until
from scope import Scope

from gearman_client import Client

POOLS: Final = 200
SCRAPES: Final = 20
MOST_CPU_MS, MOST_HOLD_MS = 20.0, 20.0
FORMATS: Final = {"text": "", "OpenMetrics": "application/openmetrics-text;version=1.0.0"}
#: By name of a row, the further keys of the section `server`.
ROWS: Final = {"the manager's alone": "", "with the job server's": ", metrics_listen: 127.0.0.1:0"}
_MODULE: Final = "def {name}(job):\n    return b''\n"


class Figures(NamedTuple):
    """The costs of scrapes in one format."""

    cpu_ms: float  #: of the supervisor, for one scrape
    took_ms: float
    size_kb: float


class Socket(http.client.HTTPConnection):
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


def cpu_s(pid: int) -> float:
    """The processor time of all threads of a process, which the scheduler counts in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _measure(running: RunningManager, accept: str) -> Figures:
    path = running.folder / "run" / "control.sock"
    connection = Socket(path)
    size_kb = len(connection.get("/metrics", accept)) / 1e3
    idle_cpu_s, began = cpu_s(running.process.pid), time.monotonic()
    time.sleep(2)
    idle_share = (cpu_s(running.process.pid) - idle_cpu_s) / (time.monotonic() - began)
    before_s, began = cpu_s(running.process.pid), time.monotonic()
    for _ in range(SCRAPES):
        connection.get("/metrics", accept)
    took_s = time.monotonic() - began
    spent_s = cpu_s(running.process.pid) - before_s - idle_share * took_s
    return Figures(spent_s / SCRAPES * 1e3, took_s / SCRAPES * 1e3, size_kb)


def _longest_hold_ms(running: RunningManager, accept: str | None, folder: Path) -> float:
    """The longest time that the loop was held during some scrapes; None: in two seconds without any."""
    connection = Socket(running.folder / "run" / "control.sock")
    connection.get("/metrics")  # the first one imports something
    traced_manager.reset(folder)
    if accept is None:
        time.sleep(2)
    for _ in range(SCRAPES if accept is not None else 0):
        connection.get("/metrics", accept)
    return traced_manager.held_s(folder) * 1e3


def _settled(running: RunningManager) -> bool:
    pools = running.status()["pools"].values()
    return all(worker["state"] == "idle" for pool in pools for worker in pool["workers"]) and all(
        len(pool["workers"]) == 1 for pool in pools
    )


@contextmanager
def _managed(server: str, programs: Path = BIN) -> Iterator[RunningManager]:
    """The manager, once each function has had a job."""
    names = [f"function_{number}" for number in range(POOLS)]
    pools = "".join(f"  pool_{name}: {{functions: [{name}], min: 1, max: 1}}\n" for name in names)
    modules = {f"{name}.py": _MODULE.format(name=name) for name in names}
    with manager(f"pools:\n{pools}", modules, programs, server) as running:
        running.wait_for_control()
        wait_until(lambda: _settled(running), "every pool has its worker", every_s=0.5)
        with Client([running.address], timeout_s=60) as client:
            for name in names:
                client.submit(name, b"")
        yield running


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(f"scrape: {row}")]
    if not rows:
        return
    yield f"Scrapes of a manager with {POOLS} pools of a worker each, medians of {scope.rounds} rounds"
    yield ""
    yield "| metrics | format | CPU, ms | bar | took, ms | kB | the loop is held, ms | bar | without scrapes | |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        with _managed(ROWS[row]) as running:
            costs = {name: [_measure(running, accept) for _ in range(scope.rounds)] for name, accept in FORMATS.items()}
        with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
            folder = traced_manager.programs(Path(name))
            with _managed(ROWS[row], folder) as running:
                quiet_ms = _longest_hold_ms(running, None, folder)
                holds = {name: _longest_hold_ms(running, accept, folder) for name, accept in FORMATS.items()}
        for name, rounds in costs.items():
            figures = Figures(*(median(values) for values in zip(*rounds, strict=True)))
            is_met = figures.cpu_ms <= MOST_CPU_MS and holds[name] <= MOST_HOLD_MS
            yield (
                f"| {row} | {name} | {figures.cpu_ms:.1f} | ≤ {MOST_CPU_MS:g} | {figures.took_ms:.1f}"
                f" | {figures.size_kb:.0f} | {holds[name]:.1f} | ≤ {MOST_HOLD_MS:g} | {quiet_ms:.1f}"
                f" | {'ok' if is_met else 'MISSED'} |"
            )
