"""A hundred workers beside supervisord and celery: time to start them, their memory, time to replace a killed one.
Also the processor time of the supervisor while two hundred workers wait.

Everything is observed from outside: the job server tells of the workers, the kernel of memory and processor time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from herds import HERDS, WORKERS, Herd, our_manager
from running_manager import cores_used, total_pss_mb, wait_until
from scope import Scope

IDLE_WORKERS: Final = 200
IDLE_S: Final = 10.0
KILLS: Final = 15
SETTLE_S: Final = 2.0


@dataclass(frozen=True)
class Figures:
    """One herd in one round."""

    ready_s: float
    worker_mb: float
    total_mb: float
    replaced_ms: float


def measure(name: str) -> Figures:
    """Start a herd, measure its memory, and kill some of its workers."""
    with HERDS[name]() as herd:
        wait_until(lambda: len(herd.ready()) >= WORKERS, f"{name}: {WORKERS} workers")
        ready_s = time.monotonic() - herd.started
        time.sleep(SETTLE_S)
        worker_mb = median(worker.memory_full_info().pss / 1e6 for worker in herd.workers())
        return Figures(ready_s, worker_mb, total_pss_mb(herd.family()), _replaced_ms(herd))


def report(scope: Scope) -> Iterator[str]:
    """The table, line by line. It is one measurement, so its rows can't be chosen."""
    if scope.rows:
        return
    rounds = [{name: measure(name) for name in HERDS} for _ in range(scope.rounds)]
    idle_percent = median(_idle_percent() for _ in range(scope.rounds))
    yield f"{WORKERS} workers beside Debian's supervisord and celery's prefork pool, medians of {scope.rounds} rounds"
    yield ""
    yield f"| | {' | '.join(HERDS)} | bar | |"
    yield f"|---|{'--:|' * len(HERDS)}--:|---|"
    for title, figure, bar in (
        (f"{WORKERS} workers ready after the start, s", "ready_s", 1.5),
        ("memory of one worker (PSS, median of all), MB", "worker_mb", 4.0),
        ("memory of all processes but the broker (PSS), MB", "total_mb", None),
        (f"killed worker replaced (median of {KILLS}), ms", "replaced_ms", 50.0),
    ):
        values = [median(getattr(figures[name], figure) for figures in rounds) for name in HERDS]
        yield _row(title, values, bar)
    yield _row(f"idle supervisor with {IDLE_WORKERS} workers, % of a core", [idle_percent], 0.5)


def _row(title: str, values: list[float], bar: float | None) -> str:
    shown = [f"{value:.2f}" for value in values] + [""] * (len(HERDS) - len(values))
    verdict = " | " if bar is None else f"≤ {bar:g} | {'ok' if values[0] <= bar else 'MISSED'}"
    return f"| {title} | {' | '.join(shown)} | {verdict} |"


def _replaced_ms(herd: Herd) -> float:
    """The time from a kill until another worker is ready."""
    delays = []
    for worker in herd.workers()[:KILLS]:
        wait_until(lambda: len(herd.ready()) >= WORKERS, "all workers are back")
        before = herd.ready()
        killed = time.monotonic()
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda before=before: herd.ready() - before, "a killed worker is replaced", every_s=0.0)
        delays.append((time.monotonic() - killed) * 1000)
    return median(delays)


def _idle_percent() -> float:
    with our_manager(IDLE_WORKERS) as herd:
        wait_until(lambda: len(herd.ready()) >= IDLE_WORKERS, f"{IDLE_WORKERS} workers")
        time.sleep(SETTLE_S)
        return 100 * cores_used(herd.top, IDLE_S)
