"""Many no-op jobs under way at once: task sets and `map` beside libgearman's runTasks and the libraries on PyPI.

`gearload` runs the jobs with sixteen workers. Each client is a process of its own, each measurement has a fresh server,
and the clients take turns within each round.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from gearload import build
from scope import Scope
from servers import COMMANDS, fresh_server

WORKERS: Final = 16
MEMORY_JOBS: Final = 1_000_000
MOST_GROWTH_MB: Final = 5.0


@dataclass(frozen=True)
class Row:
    """A client, and the least ratio of our task set's rate to its, with the larger number of jobs."""

    client: str
    at_least: float | None

    def __str__(self) -> str:
        return f"task_sets: {self.client}"


ROWS: Final = (
    Row("task_set", None),
    Row("map", None),
    Row("runtasks", 0.8),
    Row("gear", 3.0),
    Row("python3_gearman", 3.0),
)
SIZES: Final = (1_000, 100_000)


@dataclass(frozen=True)
class Figures:
    """One measurement. The CPU time is the client's."""

    jobs_per_s: float
    cpu_us_per_job: float


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(str(row))]
    if rows:
        yield f"No-op jobs under way at once; medians of {scope.rounds} rounds, ratio: our task set to this client"
        yield ""
        yield "| server | jobs | client | jobs/s | ratio | bar | CPU µs/job | |"
        yield "|---|--:|---|--:|--:|--:|--:|---|"
        for name in COMMANDS:
            for jobs in SIZES:
                yield from _compare(name, jobs, rows, scope.rounds)
    if scope.wants("task_sets: memory of map"):
        growth_mb = _run("gearman-server", "map_memory", MEMORY_JOBS)["growth_bytes"] / 1e6
        verdict = "ok" if growth_mb <= MOST_GROWTH_MB else "MISSED"
        yield ""
        bar = f"(≤ {MOST_GROWTH_MB:g}): {verdict}"
        yield f"Memory over a map of {MEMORY_JOBS:,} workloads grows by {growth_mb:.1f} MB {bar}"


def _compare(name: str, jobs: int, rows: list[Row], rounds: int) -> Iterator[str]:
    clients = {"task_set", *(row.client for row in rows)}
    measured: dict[str, list[Figures]] = {client: [] for client in clients}
    for _ in range(rounds):
        for client in clients:
            measured[client].append(_measure(name, client, jobs))
    ours = median(figures.jobs_per_s for figures in measured["task_set"])
    for row in rows:
        rate = median(figures.jobs_per_s for figures in measured[row.client])
        cpu = median(figures.cpu_us_per_job for figures in measured[row.client])
        ratio, bar, verdict = "", "", ""
        if row.client != "task_set":
            ratio = f"{ours / rate:.2f}"
        if row.at_least is not None and jobs == max(SIZES):
            bar = f"≥ {row.at_least:g}"
            verdict = "ok" if ours / rate >= row.at_least else "MISSED"
        what = f"{name} | {jobs:,} | {row.client}"
        yield f"| {what} | {rate:,.0f} | {ratio} | {bar} | {cpu:.1f} | {verdict} |"


def _measure(name: str, client: str, jobs: int) -> Figures:
    figures = _run(name, client, jobs)
    return Figures(jobs / figures["s"], figures["cpu_s"] * 1e6 / jobs)


def _run(name: str, client: str, jobs: int) -> dict[str, float]:
    """Run a client with a fresh server and workers, and return its figures."""
    with fresh_server(name) as server:
        options = ["drain", "-w", str(WORKERS), "-n", str(jobs), "-f", "gearload"]
        workers = subprocess.Popen(
            [build("gearload"), "127.0.0.1", str(server.port), *options], stdout=subprocess.DEVNULL
        )
        try:
            if client == "runtasks":
                command = [str(build("runtasks", "-lgearman")), "127.0.0.1", str(server.port), str(jobs), "gearload"]
            else:
                command = [sys.executable, str(Path(__file__).with_name("set_client.py")), client]
                command += [str(server.port), str(jobs)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        finally:
            workers.kill()
            workers.wait()
    return {figure: float(value) for figure, value in (word.split("=") for word in printed.split())}
