"""Finished jobs: searches over a hundred thousand of them, and what a thousand a second cost the supervisor.

The supervisor's loop is watched all the time, as for `scrape`; its processor time is measured without that.
"""

from __future__ import annotations

import json
import random
import string
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

import traced_manager
from gearload import gearload
from running_manager import BIN, RunningManager, manager
from scope import Scope
from scrape import Socket, cpu_s

from gearman_manager.config.models import FinishedJobs
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.finished.keeper import FILE_NAME, Keeper
from gearman_manager.privacy import Privacy

ROWS_KEPT: Final = 100_000
MOST_MS, MOST_HOLD_MS = 300.0, 20.0
_SERVER: Final = "192.0.2.1:4730"
_BATCH: Final = 250
_KEPT: Final = "history: {finished_jobs: {max_count: 100000}}\n"
_NOT_KEPT: Final = "history: {finished_jobs: {max_count: 0}}\n"
_MODULES: Final = {"nap.py": "def nap(job):\n    return b''\n"}
#: By name, the conditions of a search. The first ones look at every row.
SEARCHES: Final = {
    "a text that is nowhere": {"text": "nowhere at all"},
    "a text of a few": {"text": "needle"},
    "a function and a text": {"function": "function_7", "text": "nowhere at all"},
    "a unique key": {"unique": "u500"},
    "a tag that is nowhere": {"tag": "none"},
    "an outcome, a page of 1,000": {"outcome": "exception", "limit": "1000"},
    "a handle": {"handle": "H:bench:500"},
    "the last 100": {},
}
_SECONDS: Final = 10


def _attempts(begin: int, words: list[str]) -> list[FinishedAttempt]:
    now = time.time()
    made = []
    for number in range(begin, begin + _BATCH):
        is_bad = number % 20 == 0
        workload = " ".join(random.choices(words, k=38)) + " needle" * (number % 10_000 == 0)
        made.append(
            FinishedAttempt(
                server=_SERVER,
                run="r",
                number=number,
                at=now - (ROWS_KEPT - number) / 10,
                handle=f"H:bench:{number}",
                function=f"function_{number % 50}",
                unique=f"u{number}",
                priority="normal",
                is_background=True,
                outcome="exception" if is_bad else "complete",
                follows="dead" if is_bad else "",
                attempt=1,
                submitted=now - 20,
                started=now - 10,
                worker="gm:host/pool/1",
                host="127.0.0.1",
                error="ValueError: " + " ".join(random.choices(words, k=10)) if is_bad else "",
                traceback=" ".join(random.choices(words, k=150)) if is_bad else "",
                workload_bytes=len(workload),
                workload=workload,
                result="ok",
                is_whole=True,
                progress="",
                tags=(f"tag{number % 100}",),
            )
        )
    return made


def _fill(folder: Path) -> float:
    """Fill the manager's file; returns its size in MB."""
    random.seed(1)
    words = ["".join(random.choices(string.ascii_lowercase, k=7)) for _ in range(5000)]
    bounds = FinishedJobs()
    keeper = Keeper(folder / "run" / FILE_NAME, lambda: bounds, Privacy())
    for begin in range(0, ROWS_KEPT, _BATCH):
        keeper.keep(_attempts(begin, words), _SERVER, f"r.{begin}")
    keeper.close()
    return (folder / "run" / FILE_NAME).stat().st_size / 1e6


def _search(running: RunningManager, conditions: dict[str, str], rounds: int) -> tuple[float, int]:
    """How long a search takes (ms), and how many rows it finds."""
    connection = Socket(running.folder / "run" / "control.sock")
    resource = f"/api/v1/jobs/finished?{urlencode(conditions)}"
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = connection.get(resource)
        took.append((time.perf_counter() - began) * 1e3)
    return median(took), len(json.loads(answer)["jobs"])


def _searches(scope: Scope, names: list[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
        folder = traced_manager.programs(Path(name))
        with manager(_KEPT, _MODULES, folder) as running:
            running.wait_for_control()
            size_mb = _fill(running.folder)
            yield f"Searches over {ROWS_KEPT:,} finished jobs, {size_mb:.0f} MB, medians of {scope.rounds} rounds"
            yield ""
            yield "| looked for | found | took, ms | bar | the loop is held, ms | bar | |"
            yield "|---|--:|--:|--:|--:|--:|---|"
            _search(running, {}, 1)  # the first one imports something
            for each in names:
                traced_manager.reset(folder)
                took_ms, found = _search(running, SEARCHES[each], scope.rounds)
                held_ms = traced_manager.held_s(folder) * 1e3
                is_met = took_ms <= MOST_MS and held_ms <= MOST_HOLD_MS
                yield (
                    f"| {each} | {found} | {took_ms:.0f} | ≤ {MOST_MS:g} | {held_ms:.1f} | ≤ {MOST_HOLD_MS:g}"
                    f" | {'ok' if is_met else 'MISSED'} |"
                )


def _under_load(config: str, programs: Path, folder: Path | None) -> tuple[float, float]:
    """The share of a core that the supervisor takes while a thousand jobs end each second; the longest hold (ms)."""
    with manager(config, _MODULES, programs) as running:
        running.wait_for_control()
        time.sleep(3)
        if folder is not None:
            traced_manager.reset(folder)
        before_s, began = cpu_s(running.process.pid), time.monotonic()
        for second in range(1, _SECONDS + 1):
            gearload(running.address.port, "echo -n 1000 -c 4 -w 4 -s 300")
            time.sleep(max(0.0, began + second - time.monotonic()))
        share = (cpu_s(running.process.pid) - before_s) / (time.monotonic() - began)
        return share, traced_manager.held_s(folder) * 1e3 if folder is not None else 0.0


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    names = [name for name in SEARCHES if scope.wants(f"finished: {name}")]
    if names:
        yield from _searches(scope, names)
        yield ""
    if not scope.wants("finished: load"):
        return
    yield "The supervisor while a thousand jobs end each second, in bursts"
    yield ""
    yield "| finished jobs | share of a core | the loop is held, ms | bar | |"
    yield "|---|--:|--:|--:|---|"
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
        folder = traced_manager.programs(Path(name))
        for what, config in (("are kept", _KEPT), ("are not", _NOT_KEPT)):
            share = median(_under_load(config, BIN, None)[0] for _ in range(scope.rounds))
            held_ms = _under_load(config, folder, folder)[1]
            is_met = "ok" if held_ms <= MOST_HOLD_MS else "MISSED"
            yield f"| {what} | {share:.1%} | {held_ms:.1f} | ≤ {MOST_HOLD_MS:g} | {is_met} |"
