"""kill -9 of the server at random moments while batches are opened, filled, closed and done: each callback is submitted
once. A callback that runs twice because of a kill has one handle.

`GEARMAN_KILL_ROUNDS` asks for more rounds (`make soak-kills`).
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from gearman_client import Client, FollowUp, GearmanError, JobBatch, Worker

from ..server_process import ServerProcess
from .conftest import StoreDatabase

ROUNDS = {"sqlite": 6, "postgresql": 3, "mysql": 3}
JOBS = 4
DEADLINE_S = 60.0

Result = TypeVar("Result")


class Producer(threading.Thread):
    """Makes one batch after the other; what is not acknowledged is repeated, as a careful program does."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._client = Client(f"127.0.0.1:{port}", timeout_s=DEADLINE_S)
        self.closed: list[str] = []
        self.is_told_to_stop = threading.Event()
        self.start()

    def run(self) -> None:
        number = 0
        while not self.is_told_to_stop.is_set():
            number += 1
            self._make(f"batch-{number}", fails=number % 3 == 0)

    def _make(self, name: str, *, fails: bool) -> None:
        """A batch, the last of whose jobs may fail. Each submission has an id, so that it is one job."""
        complete, success, failure = (FollowUp(at, name) for at in ("on_complete", "on_success", "on_failure"))

        def add(batch: JobBatch[Any], job: int) -> None:
            workload = "fail" if fails and job == JOBS - 1 else "work"
            chain = ["f"] if job == 0 else []
            persist(lambda: batch.background("f", workload, submission=f"{name}-{job}", then=chain))

        made = persist(
            lambda: self._client.batch(id=name, on_complete=complete, on_success=success, on_failure=failure)
        )
        for job in range(JOBS):
            add(made, job)
        persist(made.close)
        self.closed.append(name)


def until(condition: Callable[[], bool]) -> None:
    """Wait; after many kills there is much to catch up with."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def persist(call: Callable[[], Result]) -> Result:
    """Repeat a call that fails, for a while."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return call()
        except GearmanError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Consumer(threading.Thread):
    """Runs all jobs, and notes the handles of the callbacks."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._worker = Worker(f"127.0.0.1:{port}")
        for function in ("f", "on_complete", "on_success", "on_failure"):
            self._worker.register(function)
        self.callbacks: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.is_told_to_stop = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.is_told_to_stop.is_set():
            try:
                job = self._worker.grab(timeout_s=0.1)
            except GearmanError:
                continue
            if job is None:
                continue
            if job.function != "f":
                self.callbacks[job.workload.decode(), job.function].add(job.handle)
            if job.workload == b"fail":
                job.fail()
            else:
                job.complete(b"work")
            self._worker.flush()
        self._worker.close()


@pytest.mark.in_every_database
@pytest.mark.timeout(3600 if "GEARMAN_KILL_ROUNDS" in os.environ else 120)
def test_each_callback_is_submitted_once_whatever_is_killed(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    free_port: int,
) -> None:
    dice = random.Random()
    server = start_durable(database, "-p", str(free_port))
    producer, consumer = Producer(free_port), Consumer(free_port)
    try:
        rounds = 0
        while rounds < int(os.environ.get("GEARMAN_KILL_ROUNDS", ROUNDS[database.kind])) or len(producer.closed) <= 3:
            rounds += 1
            time.sleep(dice.uniform(0.05, 0.4))
            server.process.kill()
            server.stop()
            server = start_durable(database, "-p", str(free_port))
        producer.is_told_to_stop.set()
        producer.join(DEADLINE_S)
        expected = {(name, "on_complete") for name in producer.closed}
        until(lambda: expected <= consumer.callbacks.keys())
        until(lambda: database.rows("name", "gearman_batches WHERE state < 2") == [])
        until(lambda: database.rows("id") == [])
        for name in producer.closed:
            found = {at: len(consumer.callbacks[name, at]) for at in ("on_complete", "on_success", "on_failure")}
            is_failure = int(name.partition("-")[2]) % 3 == 0
            assert found == {"on_complete": 1, "on_success": 1 - is_failure, "on_failure": is_failure}, name
        rows = dict(database.rows("name, complete", "gearman_batches"))
        failed = {name for name in producer.closed if int(name.partition("-")[2]) % 3 == 0}
        for name in producer.closed:
            assert rows[name.encode()] == JOBS + 1 - (name in failed), json.dumps([name, str(rows)])
    finally:
        producer.is_told_to_stop.set()
        consumer.is_told_to_stop.set()
        producer.join(DEADLINE_S)
        consumer.join(DEADLINE_S)
