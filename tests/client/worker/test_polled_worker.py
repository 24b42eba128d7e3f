"""The worker for an event loop: a loop that watches its descriptor and its times drives it, and it never waits."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from gearman_client import Client, WorkerJob
from gearman_client.worker.polled_worker import PolledWorker

from ...gearmand import Gearmand
from ..conftest import RecordingObserver, wait_for

PLACES = 4
SOON_S = 30.0


class Loop:
    """An event loop for one worker: it answers each job with the workload in capitals, after the job was held."""

    def __init__(self, worker: PolledWorker, hold: threading.Event) -> None:
        self.worker = worker
        self.turns = self.most = 0
        self._hold = hold
        self._held: list[WorkerJob] = []

    def run(self) -> int:
        answered = 0
        poll = select.poll()
        poll.register(self.worker.fileno(), select.POLLIN)
        while not self.worker.stopping or self._held or self.worker.asked:
            self.turns += 1
            self._held += self.worker.take(PLACES - len(self._held))
            self.most = max(self.most, len(self._held))
            if self._held and self._hold.is_set():
                for job in self._held:
                    job.complete(job.workload.upper())
                answered += len(self._held)
                self._held.clear()
                continue
            if not self.worker.had_events:
                poll.poll(min(max(0.0, self.worker.due_at - monotonic()), 60.0) * 1000)
        self.worker.close()
        return answered


def test_a_loop_that_watches_the_descriptor_runs_the_jobs(
    gearmand: Gearmand, in_thread: Callable[..., Future[Any]]
) -> None:
    hold = threading.Event()
    worker = PolledWorker(gearmand.address)
    worker.register("shout")
    loop = Loop(worker, hold)
    ended = in_thread(loop.run)
    with Client(gearmand.address, timeout_s=SOON_S) as client:
        calls = [in_thread(client.submit, "shout", f"job {number}") for number in range(PLACES)]
        while loop.most < PLACES:  # all places are taken at once
            threading.Event().wait(0.005)
        hold.set()
        worker.wake()
        assert [call.result(SOON_S) for call in calls] == [b"JOB %d" % number for number in range(PLACES)]
    worker.stop()
    assert ended.result(SOON_S) == PLACES
    assert loop.turns < 200  # it does not spin


def test_take_returns_at_once_when_nothing_happens(gearmand: Gearmand) -> None:
    with PolledWorker(gearmand.address) as worker:
        worker.register("shout")
        assert worker.take(1) == []
        assert worker.due_at > monotonic()  # the answer of the server, or the next attempt


def test_it_finds_a_job_server_again_that_was_restarted(
    gearmand: Gearmand, in_thread: Callable[..., Future[Any]]
) -> None:
    hold = threading.Event()
    hold.set()
    observer = RecordingObserver()
    worker = PolledWorker(gearmand.address, observer=observer)
    worker.register("shout")
    ended = in_thread(Loop(worker, hold).run)
    with Client(gearmand.address, timeout_s=SOON_S) as client:
        assert client.submit("shout", b"before") == b"BEFORE"
        gearmand.kill()
        wait_for(lambda: observer.named("disconnected"), "the loss is noticed")
        gearmand.start()
        assert client.submit("shout", b"after") == b"AFTER"
    worker.stop()
    assert ended.result(SOON_S) == 2
