"""A module whose jobs wait for each other, and helpers that run several jobs at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .conftest import RunningManager

PLACES = 3

MODULE = f"""
import logging
import os
import signal
import subprocess
import threading
import time

import gevent
from gearman_manager import JobTimeout, function

IMPORTED_IN = os.getpid()
everybody = threading.Barrier({PLACES})
pair = threading.Barrier(2)
mine = threading.local()
one_at_a_time = threading.Lock()
interrupted = []
now = most = 0


@function
def meet(job):
    "Ends only when as many jobs as there are places run at once."
    everybody.wait(20)
    return f"{{IMPORTED_IN}} {{os.getpid()}} {{job.attempt}}"


@function
def count(job):
    global now, most
    now += 1
    most = max(most, now)
    time.sleep(0.02)
    now -= 1
    return str(most)


@function
def steps(job):
    for step in range(1, 4):
        job.status(step, 3)
        job.data(job.workload)
        pair.wait(20)


@function(timeout="500ms")
def late(job):
    try:
        time.sleep(60)
    except JobTimeout:
        interrupted.append(job.workload.decode())
        raise


@function(timeout="500ms")
def swallow(job):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@function(timeout="500ms")
def compute(job):
    while True:
        pass


@function
def who_was_interrupted(job):
    return interrupted


@function
def wait_for_file(job):
    while not os.path.exists(job.workload):
        time.sleep(0.01)
    return f"{{os.getpid()}} {{job.attempt}}"


@function
def standard_library(job):
    mine.value = job.handle
    with one_at_a_time:
        logging.getLogger("a").info("holds the lock")
        time.sleep(0.01)
    said = subprocess.run(["cat"], input=job.workload, capture_output=True, check=True).stdout
    everybody.wait(20)
    return [mine.value == job.handle, said.decode()]


@function
def raises(job):
    raise {{"exit": SystemExit, "interrupt": KeyboardInterrupt, "base": BaseException}}[job.workload.decode()]("no")


@function
def killed(job):
    gevent.getcurrent().kill()


@function
def leaves_behind(job):
    def stray():
        raise SystemExit(3)
    gevent.spawn(stray)
    threading.Thread(target=time.sleep, args=(600,)).start()
    return b"left"


@function
def forks(job):
    os.fork()


@function
class Kept:
    def setup(self, settings):
        self.calls = []

    def run(self, job):
        self.calls.append(job.handle)
        everybody.wait(20)
        return [os.getpid(), len(self.calls)]
"""


@contextmanager
def at_once(manager: RunningManager, *jobs: tuple[str, bytes | str]) -> Iterator[list[Future[Any]]]:
    """Foreground jobs, each on a connection of its own."""

    def submit(function: str, workload: bytes | str) -> bytes:
        with manager.client(timeout_s=30) as client:
            return client.submit(function, workload)

    with ThreadPoolExecutor(len(jobs)) as pool:
        yield [pool.submit(submit, *job) for job in jobs]


def results(manager: RunningManager, *jobs: tuple[str, bytes | str]) -> list[bytes]:
    with at_once(manager, *jobs) as futures:
        return [future.result(40) for future in futures]


def running(manager: RunningManager, pool: str = "crowd") -> list[dict[str, Any]]:
    return [job for worker in manager.workers(pool) for job in worker["jobs"]]
