"""No-op background jobs per second, from the first submission to the last completion, beside celery, dramatiq and rq.

Each system has two worker processes and one client, its broker in memory on the loopback interface, and the settings
that its documentation recommends for many short jobs. All run the same number of jobs, and the jobs count themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from private_redis import private_redis
from running_manager import BIN, manager, wait_until
from scope import Scope

NOOP: Final = Path(__file__).parent / "noop"
sys.path.insert(0, str(NOOP))
import noop_counter  # noqa: E402

JOBS: Final = 20_000
WARM_UP_JOBS: Final = 200
AT_LEAST_RATIO: Final = 8.0
OURS: Final = "ours"
_DEADLINE_S: Final = 300.0
_MODULE: Final = "import noop_counter\ndef noop(job): noop_counter.count()\n"
_QUIET_CELERY: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")


@dataclass(frozen=True)
class Running:
    """Broker and workers of one system: the broker's address for the client, and the topmost processes."""

    broker: str
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """One measurement. The CPU time is the sum of client, broker and workers."""

    jobs_per_s: float
    cpu_us_per_job: float


@contextmanager
def _manager(more: str = "") -> Iterator[Running]:
    with manager(f"pools: {{noop: {{min: 2, max: 2{more}}}}}\n", {"noop.py": _MODULE}) as running:
        running.wait_for_control()
        yield Running(str(running.address), (running.process.pid,))


@contextmanager
def _on_redis(*programs: tuple[str, ...]) -> Iterator[Running]:
    """Start the worker programs of a peer, each quiet, with their own Redis."""
    with private_redis() as (url, redis_pid), ExitStack() as stack:
        os.environ["NOOP_REDIS"] = url
        commands = [[url if word == "URL" else word for word in program] for program in programs]
        pids = [stack.enter_context(_process(command)) for command in commands]
        yield Running(url, (redis_pid, *pids))


_RQ_WORKER: Final = ("rq", "worker", "--worker-class", "rq.worker.SimpleWorker", "--quiet", "--url", "URL")


@dataclass(frozen=True)
class System:
    """One way to run background jobs, and its settings for the report."""

    name: str
    client: str
    start: Callable[[], AbstractContextManager[Running]]
    settings: str


SYSTEMS: Final = (
    System(
        OURS,
        "ours",
        partial(_manager, ", concurrency: 32"),
        "bundled server in memory, `concurrency: 32`, `submit_background_many`",
    ),
    System(f"{OURS}, one job at a time", "ours", _manager, "the same without `concurrency`"),
    System(f"{OURS}, submitted one by one", "one_by_one", _manager, "and with a round trip for each submission"),
    System(
        "celery",
        "celery",
        partial(_on_redis, ("celery", "-A", "celery_noop", "worker", "-P", "prefork", "-c", "2", *_QUIET_CELERY)),
        "prefork, prefetch multiplier 1000, no results, events, gossip, mingle, heartbeat; hiredis",
    ),
    System(
        "dramatiq",
        "dramatiq",
        partial(_on_redis, ("dramatiq", "dramatiq_noop", "-p", "2", "-t", "1")),
        "two processes with a thread each, `dramatiq_queue_prefetch=1000`; hiredis",
    ),
    System(
        "rq",
        "rq",
        partial(_on_redis, _RQ_WORKER, _RQ_WORKER),
        "two SimpleWorkers (no fork for each job), `enqueue_many`, no results; hiredis",
    ),
)


def measure(system: System) -> Figures:
    """Start the system, warm it up, run the jobs."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder)
        os.environ |= {
            noop_counter.FOLDER_VARIABLE: folder,
            "PYTHONPATH": str(NOOP),
            "dramatiq_queue_prefetch": "1000",
        }
        with system.start() as running, _client(system.client, running.broker) as client:
            _run(client, WARM_UP_JOBS, counts, WARM_UP_JOBS)
            pids = (*running.pids, client.pid)
            before_s, began = _cpu_s(pids), time.monotonic()
            _run(client, JOBS, counts, WARM_UP_JOBS + JOBS)
            took_s = time.monotonic() - began
            return Figures(JOBS / took_s, (_cpu_s(pids) - before_s) * 1e6 / JOBS)


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    systems = [system for system in SYSTEMS if scope.wants(system.name)]
    if not systems:
        return
    rounds = [{system.name: measure(system) for system in systems} for _ in range(scope.rounds)]
    rates = {s.name: median(figures[s.name].jobs_per_s for figures in rounds) for s in systems}
    best = max((rate for name, rate in rates.items() if not name.startswith(OURS)), default=None)
    yield f"{JOBS:,} no-op background jobs, two workers each, from submission to completion; {scope.rounds} rounds"
    yield ""
    yield "| | jobs/s | beside the best other | bar | | CPU µs/job | settings |"
    yield "|---|--:|--:|--:|---|--:|---|"
    for system in systems:
        cpu = median(figures[system.name].cpu_us_per_job for figures in rounds)
        ratio = rates[system.name] / best if best else None
        shown = "" if ratio is None else f"{ratio:.2f}"
        bar = " | "
        if system.name == OURS and ratio is not None:
            bar = f"≥ {AT_LEAST_RATIO:g} | {'ok' if ratio >= AT_LEAST_RATIO else 'MISSED'}"
        yield f"| {system.name} | {rates[system.name]:,.0f} | {shown} | {bar} | {cpu:.0f} | {system.settings} |"


def _run(client: subprocess.Popen[str], jobs: int, counts: Path, expected: int) -> None:
    """Let the client submit jobs; return when all are done."""
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


@contextmanager
def _process(command: list[str]) -> Iterator[int]:
    """Run a worker program of a peer quietly until the end of the block; gives its pid."""
    arguments = [str(BIN / command[0]), *command[1:]]
    process = subprocess.Popen(arguments, cwd=NOOP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
            process.wait()


def _cpu_s(pids: tuple[int, ...]) -> float:
    """The CPU time of these processes and all their descendants."""
    family = [member for pid in pids for member in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(times.user + times.system for times in (process.cpu_times() for process in family))
