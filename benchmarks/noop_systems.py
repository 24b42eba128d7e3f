"""The compared ways to run no-op background jobs: how each is started, and with which settings.

Each has two worker processes and its broker in memory on the loopback interface. Of the other systems the settings are
those that their documentation recommends for many short jobs; where several could be the best, all are here.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil
from private_redis import private_redis
from running_manager import BIN, manager, wait_until

from gearman_client import Address, connect_admin

NOOP: Final = Path(__file__).parent / "noop"
#: The client that gives all jobs of ours to the server in few writes; see `submitter.py`.
OURS: Final = "ours"
_OUR_FUNCTION: Final = "import noop_counter\ndef noop(job): noop_counter.count()\n"
_OUR_BATCHES: Final = (
    "import noop_counter\n"
    "from gearman_manager import function\n"
    "@function(batch=100)\n"
    "def noop(jobs): noop_counter.count(len(jobs))\n"
)


@dataclass(frozen=True)
class Running:
    """Broker and workers of one system: the broker's address for the client, the topmost processes, the end.

    `wait_for_end` returns once the broker has heard of the end of all jobs, if it can be asked.
    """

    broker: str
    pids: tuple[int, ...]
    wait_for_end: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class System:
    """One way to run background jobs, its settings for the report, and how many jobs take it some seconds."""

    name: str
    client: str
    start: Callable[[], AbstractContextManager[Running]]
    settings: str
    jobs: int

    @property
    def is_ours(self) -> bool:
        """Whether our manager runs the jobs."""
        return self.name.startswith(OURS)


@contextmanager
def _manager(more: str = "", module: str = _OUR_FUNCTION) -> Iterator[Running]:
    with manager(f"pools: {{noop: {{min: 2, max: 2{more}}}}}\n", {"noop.py": module}) as running:
        running.wait_for_control()
        yield Running(str(running.address), (running.process.pid,), lambda: _wait_for_no_job(running.address))


def _wait_for_no_job(address: Address) -> None:
    """Wait until the job server has the answers of all jobs: the last of a set may still be on their way."""
    with connect_admin(address, timeout_s=10) as admin:
        wait_until(lambda: not sum(row.total for row in admin.status()), "no job left", every_s=0.001)


@contextmanager
def _on_redis(*programs: tuple[str, ...]) -> Iterator[Running]:
    """Start the worker programs of a peer, each quiet, with their own Redis."""
    with private_redis() as (url, redis_pid):
        os.environ["NOOP_BROKER"] = url
        commands = [[url if word == "URL" else word for word in program] for program in programs]
        with _processes(commands) as pids:
            yield Running(url, (redis_pid, *pids))


@contextmanager
def _on_sqlite(program: tuple[str, ...]) -> Iterator[Running]:
    """Start the worker program of a peer with a new SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NOOP_BROKER"] = file = f"{folder}/jobs.db"
        with _processes([list(program)]) as pids:
            yield Running(file, pids)


@contextmanager
def _processes(commands: list[list[str]]) -> Iterator[tuple[int, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_process(command)) for command in commands)


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


def _celery(*pool: str, name: str) -> tuple[str, ...]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")
    return ("celery", "-A", "celery_noop", "worker", "-P", *pool, "-n", name, *quiet)


def _dramatiq(module: str, threads: int) -> tuple[str, ...]:
    return ("dramatiq", module, "-p", "2", "-t", str(threads))


def _huey() -> tuple[str, ...]:
    """Two processes; no periodic tasks, no health check, no log lines for each job."""
    return ("huey_consumer", "huey_noop.app", "-k", "process", "-w", "2", "-d", "0.001", "-m", "0.01", "-n", "-C", "-q")


_RQ_WORKER: Final = ("rq", "worker", "--worker-class", "rq.worker.SimpleWorker", "--quiet", "--url", "URL")
_CELERY_SETTINGS: Final = "prefetch multiplier 1000, early acks, no results, events, remote control; hiredis"

ONE_AT_A_TIME: Final = System(
    f"{OURS}, one at a time", OURS, _manager, "bundled server, `submit_background_many`", 100_000
)
PREFETCH: Final = System(f"{OURS}, prefetch", OURS, partial(_manager, ", prefetch: 50"), "with `prefetch: 50`", 200_000)
BATCH: Final = System(f"{OURS}, batch", OURS, partial(_manager, "", _OUR_BATCHES), "with `batch=100`", 200_000)
CONCURRENCY: Final = System(
    f"{OURS}, concurrency", OURS, partial(_manager, ", concurrency: 32"), "with `concurrency: 32`", 100_000
)

SYSTEMS: Final = (
    ONE_AT_A_TIME,
    PREFETCH,
    BATCH,
    CONCURRENCY,
    System(
        f"{OURS}, submitted one by one",
        "one_by_one",
        _manager,
        "one at a time, a round trip for each submission",
        20_000,
    ),
    System(
        "celery, prefork",
        "celery",
        partial(_on_redis, _celery("prefork", "-c", "2", name="both")),
        f"`-P prefork -c 2`, {_CELERY_SETTINGS}",
        5_000,
    ),
    System(
        "celery, solo",
        "celery",
        partial(_on_redis, _celery("solo", name="first"), _celery("solo", name="second")),
        "two workers with `-P solo`, the rest as above",
        5_000,
    ),
    System(
        "dramatiq, 1 thread",
        "dramatiq",
        partial(_on_redis, _dramatiq("dramatiq_noop", 1)),
        "`-p 2 -t 1`, `dramatiq_queue_prefetch=1000`; hiredis",
        20_000,
    ),
    System(
        "dramatiq, 8 threads",
        "dramatiq",
        partial(_on_redis, _dramatiq("dramatiq_noop", 8)),
        "`-p 2 -t 8` (its default), the rest as above",
        20_000,
    ),
    System(
        "rq",
        "rq",
        partial(_on_redis, _RQ_WORKER, _RQ_WORKER),
        "two SimpleWorkers (no fork for each job), `enqueue_many`, no results; hiredis",
        5_000,
    ),
    System(
        "huey, Redis",
        "huey",
        partial(_on_redis, _huey()),
        "RedisHuey, `-k process -w 2`, no results, periodic tasks, health checks; hiredis",
        10_000,
    ),
    System(
        "huey, SQLite",
        "huey",
        partial(_on_sqlite, _huey()),
        "SqliteHuey without fsync (WAL), the rest as above",
        10_000,
    ),
)
