"""New code under load: fifty workers are replaced while their queue is never empty. No job may fail or run twice,
and the throughput should not drop.

The jobs wait most of the time, like real jobs that need fifty workers on a small machine. They count themselves in the
worker; foreground clients compare every answer.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from background import NOOP, noop_counter
from running_manager import RunningManager, manager, wait_until
from scope import Scope

from gearman_client import Client

WORKERS: Final = 50
JOB_S: Final = 0.02
BEFORE_S: Final = 3.0
WINDOW_S: Final = 0.25
AFTER_S: Final = 1.0
CLIENTS: Final = 4
AT_LEAST_PERCENT: Final = 70.0
_QUEUED_AHEAD: Final = 2000

_MODULE: Final = """
import time
import noop_counter

def work(job):
    time.sleep({job_s})
    noop_counter.count()
    return b"{version}"
"""


@dataclass
class Load:
    """The load that keeps the workers busy, and the errors meanwhile."""

    running: RunningManager
    counts: Path
    submitted: int = 0
    failed: list[str] = field(default_factory=list)
    answers: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ending: threading.Event = field(default_factory=threading.Event)

    def threads(self) -> list[threading.Thread]:
        """Start one thread that keeps the queue filled, and some that wait for each answer."""
        return [self._thread(self._fill), *(self._thread(self._ask) for _ in range(CLIENTS))]

    def _thread(self, call: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 (a thread's boundary: whatever happens is a failure)
                self.failed.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def _fill(self) -> None:
        with Client(self.running.address) as client:
            while not self.ending.is_set():
                missing = _QUEUED_AHEAD - (self.submitted - noop_counter.counted(self.counts))
                if missing > 0:
                    handles = client.submit_background_many("work", (b"" for _ in range(missing)))
                    with self.lock:
                        self.submitted += len(handles)
                time.sleep(0.05)

    def _ask(self) -> None:
        with Client(self.running.address, timeout_s=60) as client:
            while not self.ending.is_set():
                self.answers.add(client.submit("work", b"", priority="high"))
                with self.lock:
                    self.submitted += 1


@dataclass(frozen=True)
class Figures:
    """One reload."""

    failed: int
    lowest_percent: float
    took_s: float


def measure() -> Figures:
    """Start a manager, put it under load, change the code, and watch."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {noop_counter.FOLDER_VARIABLE: folder, "PYTHONPATH": str(NOOP)}
        config = f"pools: {{work: {{min: {WORKERS}, max: {WORKERS}}}}}\n"
        with manager(config, {"work.py": _MODULE.format(job_s=JOB_S, version=1)}) as running:
            running.wait_for_control()
            wait_until(lambda: len(running.workers()) == WORKERS, f"{WORKERS} workers")
            load = Load(running, Path(folder))
            threads = load.threads()
            try:
                return _reloaded(load)
            finally:
                load.ending.set()
                for thread in threads:
                    thread.join()


def _reloaded(load: Load) -> Figures:
    running, counts = load.running, load.counts
    wait_until(lambda: noop_counter.counted(counts) > 20 * WORKERS, "the load runs")
    old = {worker.pid for worker in running.workers()}
    before_per_s = _rate(counts, BEFORE_S)
    (running.folder / "workers" / "work.py").write_text(_MODULE.format(job_s=JOB_S, version=2))
    began = time.monotonic()
    rates, replaced_after_s = [], 0.0
    while not replaced_after_s or time.monotonic() < began + replaced_after_s + AFTER_S:
        rates.append(_rate(counts, WINDOW_S))
        if not replaced_after_s and not old & {worker.pid for worker in running.workers()}:
            replaced_after_s = time.monotonic() - began
        if time.monotonic() > began + 60:
            raise SystemExit("benchmarks: the workers were not replaced within a minute")
    _drain(load)
    return Figures(len(load.failed), 100 * min(rates) / before_per_s, replaced_after_s)


def _drain(load: Load) -> None:
    """Check that every job ran exactly once, on old or new code."""
    load.ending.set()
    wait_until(lambda: "2" in str(load.answers), "the new code answers")
    time.sleep(0.5)
    wait_until(lambda: noop_counter.counted(load.counts) >= load.submitted, "all jobs done")
    surplus = noop_counter.counted(load.counts) - load.submitted
    if surplus > 0:
        load.failed.append(f"{surplus} jobs ran twice")
    problems = [line for line in load.running.log().splitlines() if " WARNING " in line or " ERROR " in line]
    load.failed += problems


def _rate(counts: Path, for_s: float) -> float:
    before, began = noop_counter.counted(counts), time.monotonic()
    time.sleep(for_s)
    return (noop_counter.counted(counts) - before) / (time.monotonic() - began)


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    if not scope.wants("reload"):
        return
    rounds = [measure() for _ in range(scope.rounds)]
    failed = sum(figures.failed for figures in rounds)
    lowest = median(figures.lowest_percent for figures in rounds)
    yield f"{WORKERS} busy workers get new code, {scope.rounds} rounds"
    yield ""
    yield "| | ours | bar | |"
    yield "|---|--:|--:|---|"
    yield f"| jobs failed, or run twice, in all rounds | {failed} | 0 | {'MISSED' if failed else 'ok'} |"
    verdict = "ok" if lowest >= AT_LEAST_PERCENT else "MISSED"
    yield (
        f"| lowest throughput in {WINDOW_S:g} s, % of before (median of the rounds) | {lowest:.0f}"
        f" | ≥ {AT_LEAST_PERCENT:g} | {verdict} |"
    )
    yield f"| all replaced after, s | {median(figures.took_s for figures in rounds):.2f} | | |"
