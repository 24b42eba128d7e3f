"""A thousand workers on one machine: they start, run a hundred thousand jobs and stop, without a single error.

Most jobs are background jobs, which the workers count. A client for each pool also runs jobs in the foreground and
compares every answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import psutil
from running_manager import RunningManager, manager, total_pss_mb, wait_until
from soak_summary import Summary

from gearman_client import Client

POOLS: Final = 10
DEADLINE_S: Final = 300.0

_MODULE: Final = """
def soak{number}(job):
    if job.workload.startswith(b"progress"):
        job.status(1, 2)
    return job.workload[::-1]
"""


@dataclass(frozen=True)
class Size:
    """The numbers of workers and jobs, in all pools together."""

    workers: int = 1000
    jobs: int = 100_000
    foreground_jobs: int = 5000


SMALL: Final = Size(workers=20, jobs=2000, foreground_jobs=200)


def run(small: bool) -> Summary:
    """The whole soak."""
    size = SMALL if small else Size()
    summary = Summary()
    workers = size.workers // POOLS
    pools = "".join(f"  soak{number}: {{min: {workers}, max: {workers}}}\n" for number in range(POOLS))
    modules = {f"soak{number}.py": _MODULE.format(number=number) for number in range(POOLS)}
    with manager(f"pools:\n{pools}", modules) as running:
        _start(running, summary, size)
        family = [running.supervisor, *running.supervisor.children(recursive=True)]
        summary.figures["memory of all processes (PSS)"] = f"{total_pss_mb(family):,.0f} MB"
        _work(running, summary, size)
        _stop(running, summary, family)
    return summary


def _start(running: RunningManager, summary: Summary, size: Size) -> None:
    running.wait_for_control()
    wait_until(
        lambda: _in_state(running, "idle") == size.workers, f"{size.workers} workers registered", DEADLINE_S, 0.1
    )
    summary.figures[f"{size.workers} workers registered after the start"] = (
        f"{time.monotonic() - running.started:.2f} s"
    )


def _work(running: RunningManager, summary: Summary, size: Size) -> None:
    began = time.monotonic()
    wrong: list[str] = []
    clients = [
        threading.Thread(target=_ask, args=(running, number, size.foreground_jobs // POOLS, wrong))
        for number in range(POOLS)
    ]
    for client in clients:
        client.start()
    with Client(running.address) as client:
        background = size.jobs - size.foreground_jobs
        for number in range(POOLS):
            client.submit_background_many(f"soak{number}", (b"job %d" % job for job in range(background // POOLS)))
    for thread in clients:
        thread.join()
    wait_until(lambda: _sum(running, "done") + _sum(running, "failed") >= size.jobs, "all jobs done", DEADLINE_S, 0.1)
    took_s = time.monotonic() - began
    summary.figures["jobs per second"] = f"{size.jobs / took_s:,.0f}"
    summary.expect("jobs done", _sum(running, "done"), size.jobs)
    summary.expect("jobs failed", _sum(running, "failed"), 0)
    summary.errors += wrong
    summary.expect("workers still there", _in_state(running, "idle"), size.workers)


def _ask(running: RunningManager, number: int, jobs: int, wrong: list[str]) -> None:
    """One client that compares the answers of its foreground jobs."""
    try:
        with Client(running.address, timeout_s=DEADLINE_S) as client:
            for job in range(jobs):
                workload = b"%s %d" % (b"progress" if job % 10 == 0 else b"plain", job)
                result = client.submit(f"soak{number}", workload)
                if result != workload[::-1]:
                    wrong.append(f"soak{number}: {workload!r} was answered with {result!r}")
    except Exception as error:  # noqa: BLE001 (a thread's boundary: whatever happens belongs into the summary)
        wrong.append(f"soak{number}: the client ended with {type(error).__name__}: {error}")


def _stop(running: RunningManager, summary: Summary, family: Iterable[psutil.Process]) -> None:
    began = time.monotonic()
    code = running.stop(DEADLINE_S)
    summary.figures["stop"] = f"{time.monotonic() - began:.2f} s"
    summary.expect("exit code", code, 0)
    summary.expect("processes left behind", len([process for process in family if process.is_running()]), 0)
    bad = [line for line in running.log().splitlines() if any(f" {level} " in line for level in _BAD_LEVELS)]
    summary.expect("warnings and errors in the log", len(bad), 0)
    summary.errors += bad


_BAD_LEVELS: Final = ("WARNING", "ERROR", "CRITICAL")


def _all_workers(running: RunningManager) -> list[dict[str, Any]]:
    return [worker for pool in running.status()["pools"].values() for worker in pool["workers"]]


def _in_state(running: RunningManager, state: str) -> int:
    return sum(worker["state"] == state for worker in _all_workers(running))


def _sum(running: RunningManager, counter: str) -> int:
    return sum(worker[counter] for worker in _all_workers(running))
