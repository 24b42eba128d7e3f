"""A hundred workers beside supervisord and celery: time to start them, their memory, time to replace a killed one.
Also the processor time of the supervisor while two hundred workers wait.

With another checkout to compare with, the start and the memory of both, in turns, and nothing else: the figures of a
single run on their own don't tell a change of some hundredths.

Everything is observed from outside: the job server tells of the workers, the kernel of memory and processor time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from herds import HERDS, WORKERS, Herd, our_manager
from running_manager import BIN, cores_used, programs_of, total_pss_mb, wait_until
from scope import Scope

IDLE_WORKERS: Final = 200
IDLE_S: Final = 10.0
KILLS: Final = 15
SETTLE_S: Final = 2.0
#: What the figures may differ by from those of the other checkout.
AT_MOST_BESIDE_BEFORE: Final = 1.05


@dataclass(frozen=True)
class Figures:
    """One herd in one round."""

    ready_s: float
    cpu_s: float
    worker_mb: float
    total_mb: float
    replaced_ms: float = 0.0


#: The figures of start and memory, with the bars.
_STARTED: Final = (
    (f"{WORKERS} workers ready after the start, s", "ready_s", 1.5),
    ("processor time of all processes but the broker until then, s", "cpu_s", None),
    ("memory of one worker (PSS, median of all), MB", "worker_mb", 4.0),
    ("memory of all processes but the broker (PSS), MB", "total_mb", None),
)


def measure(name: str) -> Figures:
    """Start a herd, measure its memory, and kill some of its workers."""
    with HERDS[name]() as herd:
        return replace(_started(herd, name), replaced_ms=_replaced_ms(herd))


def _started(herd: Herd, name: str) -> Figures:
    """The figures of a herd's start and memory."""
    wait_until(lambda: len(herd.ready()) >= WORKERS, f"{name}: {WORKERS} workers")
    ready_s = time.monotonic() - herd.started
    cpu_s = sum(sum(process.cpu_times()[:2]) for process in herd.family())
    time.sleep(SETTLE_S)
    worker_mb = median(worker.memory_full_info().pss / 1e6 for worker in herd.workers())
    return Figures(ready_s, cpu_s, worker_mb, total_pss_mb(herd.family()))


def report(scope: Scope) -> Iterator[str]:
    """The table, line by line. It is one measurement, so its rows can't be chosen."""
    if scope.rows:
        return
    if scope.before is not None:
        yield from _beside_before(scope.rounds, scope.before)
        return
    rounds = [{name: measure(name) for name in HERDS} for _ in range(scope.rounds)]
    idle_percent = median(_idle_percent() for _ in range(scope.rounds))
    yield f"{WORKERS} workers beside Debian's supervisord and celery's prefork pool, medians of {scope.rounds} rounds"
    yield ""
    yield f"| | {' | '.join(HERDS)} | bar | |"
    yield f"|---|{'--:|' * len(HERDS)}--:|---|"
    for title, figure, bar in (*_STARTED, (f"killed worker replaced (median of {KILLS}), ms", "replaced_ms", 50.0)):
        values = [median(getattr(figures[name], figure) for figures in rounds) for name in HERDS]
        yield _row(title, values, bar)
    yield _row(f"idle supervisor with {IDLE_WORKERS} workers, % of a core", [idle_percent], 0.5)


def _beside_before(rounds: int, before: Path) -> Iterator[str]:
    """The table of this checkout beside another. Both run the other's sample modules: they need nothing newer."""
    herds = {"now": BIN, "before": programs_of(before)}
    for programs in herds.values():
        _compile(programs)
    measured: list[dict[str, Figures]] = []
    for number in range(rounds):
        figures = {}
        for name in sorted(herds, reverse=bool(number % 2)):  # neither is always the first
            with our_manager(WORKERS, herds[name], before / "workers") as herd:
                figures[name] = _started(herd, name)
        measured.append(figures)
    yield f"{WORKERS} workers beside those of {before}, medians of {rounds} rounds and of their ratios"
    yield ""
    yield "| | now | before | ratio | bar | |"
    yield "|---|--:|--:|--:|--:|---|"
    for title, figure, _ in _STARTED:
        values = [[getattr(figures[name], figure) for figures in measured] for name in herds]
        ratio = median(now / then for now, then in zip(*values, strict=True))
        verdict = "ok" if ratio <= AT_MOST_BESIDE_BEFORE else "MISSED"
        shown = " | ".join(f"{median(of_one):.2f}" for of_one in values)
        yield f"| {title} | {shown} | {ratio:.3f} | ≤ {AT_MOST_BESIDE_BEFORE:g} | {verdict} |"


def _compile(programs: Path) -> None:
    """Compile the modules of a checkout and its environment, so that neither does it at each start."""
    checkout = programs.parents[1]
    folders = [checkout / name for name in ("client", "process", "server", "manager", ".venv/lib")]
    command = [programs / "python", "-m", "compileall", "-q", *folders]
    subprocess.run(command, stdout=subprocess.DEVNULL)  # some packages hold files that are none of this Python's


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
