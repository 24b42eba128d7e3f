"""A hundred worker processes under each of the compared managers: ours, supervisord, celery's prefork pool.

A herd is observed from outside: `ready` names its workers that can take jobs, according to a job server or the kernel.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from private_redis import private_redis
from running_manager import BIN, manager, title, wait_until
from servers import fresh_server

from gearman_client import Address, AdminClient, CouldNotConnect, connect_admin

WORKERS: Final = 100
FUNCTION: Final = "reverse"
#: The sample modules, so that the zygote has their imports (above all Pillow), as in real life.
SAMPLES: Final = Path(__file__).parent.parent / "workers"
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Herd:
    """A running manager with its workers."""

    top: psutil.Process
    started: float
    ready: Callable[[], set[str]]

    def family(self) -> list[psutil.Process]:
        """The manager and all its descendants but its own job server, which does not count as its cost."""
        children = self.top.children(recursive=True)
        return [self.top, *(child for child in children if "gearman-server" not in title(child))]

    def workers(self) -> list[psutil.Process]:
        """The processes that run jobs."""
        marks = (": worker ", "plain_worker", "ForkPoolWorker", "celery")
        return [child for child in self.family()[1:] if any(mark in title(child) for mark in marks)]


@contextmanager
def our_manager(workers: int = WORKERS, programs: Path = BIN, modules: Path = SAMPLES) -> Iterator[Herd]:
    """The manager with its bundled server and the sample modules."""
    config = f"pools: {{{FUNCTION}: {{min: {workers}, max: {workers}}}}}\n"
    with manager(config, modules, programs) as running, _registered(running.address) as ready:
        yield Herd(running.supervisor, running.started, ready)


@contextmanager
def supervisord() -> Iterator[Herd]:
    """Debian's supervisor with the same number of plain Python workers, no log files, and our job server beside it."""
    program = shutil.which("supervisord")
    if program is None:
        raise SystemExit("benchmarks: supervisord is not installed (apt install supervisor)")
    with fresh_server("gearman-server") as server, tempfile.TemporaryDirectory() as folder:
        address = Address("127.0.0.1", server.port)
        config = Path(folder) / "supervisord.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={folder}/pid\n"
            f"childlogdir={folder}\n"
            f"[program:worker]\ncommand={sys.executable} {_HERE / 'plain_worker.py'} {address}\n"
            f"numprocs={WORKERS}\nprocess_name=%(process_num)d\nautorestart=true\nstartsecs=0\nstopsignal=KILL\n"
            "stdout_logfile=NONE\nstderr_logfile=NONE\n"
        )
        with _child([program, "-c", str(config)]) as (top, started), _registered(address) as ready:
            yield Herd(top, started, ready)


@contextmanager
def celery() -> Iterator[Herd]:
    """Celery's prefork pool. Its processes count as ready as soon as they exist: more can't be seen from outside."""
    with private_redis() as (url, _):
        os.environ |= {"NOOP_BROKER": url, "PYTHONPATH": str(_HERE / "noop"), "NOOP_COUNTS": "/nonexistent"}
        command = [str(BIN / "celery"), "-A", "celery_noop", "worker", "-P", "prefork", "-c", str(WORKERS)]
        with _child([*command, "--loglevel", "ERROR"]) as (top, started):
            yield Herd(top, started, lambda: {str(child.pid) for child in top.children() if _is_alive(child)})


HERDS: Final[dict[str, Callable[[], AbstractContextManager[Herd]]]] = {
    "ours": our_manager,
    "supervisord": supervisord,
    "celery": celery,
}


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def _registered(address: Address) -> Iterator[Callable[[], set[str]]]:
    """A function that asks a job server, once it is up, for the workers that serve the function."""
    admin = wait_until(lambda: _connected(address), "the job server answers", every_s=0.005)
    with admin:
        yield lambda: {worker.client_id for worker in admin.workers() if FUNCTION in worker.functions}


def _connected(address: Address) -> AdminClient | None:
    try:
        return connect_admin(address, timeout_s=10)
    except CouldNotConnect:
        return None


@contextmanager
def _child(command: list[str]) -> Iterator[tuple[psutil.Process, float]]:
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    top = psutil.Process(process.pid)
    try:
        yield top, started
    finally:
        family = [*top.children(recursive=True), top]
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
