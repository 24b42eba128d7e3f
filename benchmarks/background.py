"""No-op background jobs per second, from the first submission to the last completion: prefetch and batches beside one
at a time, and all of ours beside celery, dramatiq, rq and huey.

Each system has two worker processes, one client and its broker in memory on the loopback interface. The jobs count
themselves. The systems take turns within each round, and a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from noop_systems import BATCH, CONCURRENCY, NOOP, ONE_AT_A_TIME, PREFETCH, SYSTEMS, System
from running_manager import wait_until
from scope import Scope

sys.path.insert(0, str(NOOP))
import noop_counter

WARM_UP_SHARE: Final = 50
#: The least ratio to one job at a time, and to the best other system.
AT_LEAST_BESIDE_ONE: Final = {PREFETCH: 2.5, BATCH: 4.0}
AT_LEAST_BESIDE_BEST: Final = {PREFETCH: 15.0, BATCH: 15.0, CONCURRENCY: 8.0}
_DEADLINE_S: Final = 300.0


@dataclass(frozen=True)
class Figures:
    """One measurement. The CPU time is the sum of client, broker and workers."""

    jobs_per_s: float
    cpu_us_per_job: float


Round = dict[System, Figures]


def measure(system: System, jobs: int) -> Figures:
    """Start the system, warm it up, run the jobs."""
    warm_up_jobs = jobs // WARM_UP_SHARE
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder)
        os.environ |= {
            noop_counter.FOLDER_VARIABLE: folder,
            "PYTHONPATH": str(NOOP),
            "dramatiq_queue_prefetch": "1000",
        }
        with system.start() as running, _client(system.client, running.broker) as client:
            _warm_up(client, warm_up_jobs, counts)
            running.wait_for_end()
            pids = (*running.pids, client.pid)
            before_s, began = _cpu_s(pids), time.monotonic()
            _run(client, jobs, counts)
            running.wait_for_end()
            took_s = time.monotonic() - began
            return Figures(jobs / took_s, (_cpu_s(pids) - before_s) * 1e6 / jobs)


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    systems = [system for system in SYSTEMS if scope.wants(system.name)]
    if not systems:
        return
    rounds = [{system: measure(system, system.jobs) for system in systems} for _ in range(scope.rounds)]
    best = max((s for s in systems if not s.is_ours), key=lambda s: _rate(rounds, s), default=None)
    yield f"No-op background jobs, two workers each, from submission to completion; {scope.rounds} rounds"
    yield ""
    yield "| | jobs/s | beside one at a time | bar | beside the best other | bar | | CPU µs/job | settings |"
    yield "|---|--:|--:|--:|--:|--:|---|--:|---|"
    for system in systems:
        yield _row(rounds, system, best)
    if best is not None:
        yield ""
        yield f"The best other: {best.name}."


def _row(rounds: list[Round], system: System, best: System | None) -> str:
    """The line of one system in the table."""
    beside_one = _ratio(rounds, system, ONE_AT_A_TIME) if system.is_ours and system != ONE_AT_A_TIME else None
    beside_best = _ratio(rounds, system, best)
    bars = [(beside_one, AT_LEAST_BESIDE_ONE.get(system)), (beside_best, AT_LEAST_BESIDE_BEST.get(system))]
    checks = [ratio >= bar for ratio, bar in bars if ratio is not None and bar is not None]
    verdict = ("ok" if all(checks) else "MISSED") if checks else ""
    shown = " | ".join(
        f"{'' if ratio is None else f'{ratio:.2f}'} | {'' if ratio is None or bar is None else f'≥ {bar:g}'}"
        for ratio, bar in bars
    )
    cpu = median(figures[system].cpu_us_per_job for figures in rounds)
    return f"| {system.name} | {_rate(rounds, system):,.0f} | {shown} | {verdict} | {cpu:.1f} | {system.settings} |"


def _rate(rounds: list[Round], system: System) -> float:
    return median(figures[system].jobs_per_s for figures in rounds)


def _ratio(rounds: list[Round], system: System, other: System | None) -> float | None:
    """The median of the rounds' ratios; None if the other was not measured."""
    if other is None or other not in rounds[0]:
        return None
    return median(figures[system].jobs_per_s / figures[other].jobs_per_s for figures in rounds)


def _warm_up(client: subprocess.Popen[str], jobs: int, counts: Path) -> None:
    """Run some jobs, again and again until each of the two workers has run some: one may start later."""
    deadline = time.monotonic() + _DEADLINE_S
    while sum(1 for _ in counts.iterdir()) < 2:
        if time.monotonic() > deadline:
            raise SystemExit("benchmarks: only one of two workers takes jobs")
        _run(client, jobs, counts)


def _run(client: subprocess.Popen[str], jobs: int, counts: Path) -> None:
    """Let the client submit jobs; return when all are done."""
    expected = noop_counter.counted(counts) + jobs
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{jobs}\n")
    client.stdin.flush()
    if client.stdout.readline() != "submitted\n":
        raise SystemExit("benchmarks: the client could not submit the jobs")
    wait_until(lambda: noop_counter.counted(counts) >= expected, f"{expected} jobs done", _DEADLINE_S)
    if noop_counter.counted(counts) > expected:
        raise SystemExit("benchmarks: some jobs ran twice")


@contextmanager
def _client(system: str, broker: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, NOOP / "submitter.py", system, broker]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def _cpu_s(pids: tuple[int, ...]) -> float:
    """The CPU time of these processes and all their descendants."""
    family = [member for pid in pids for member in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(times.user + times.system for times in (process.cpu_times() for process in family))
