"""Workers of the library hear that a job of theirs is to be stopped: at a real server, which `Client.stop` asks."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import Client, JobException, JobStopped, WorkerJob, WorkerObserver, WorkerSettings
from gearman_client.worker.concurrent_worker import ConcurrentWorker
from gearman_client.worker.polled_worker import PolledWorker

from ..conftest import DEADLINE_S, JobServer, wait_for


class Began(WorkerObserver):
    """Says which jobs begin, and how they end."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[WorkerJob] = queue.Queue()
        self.failures: list[str] = []

    def job_started(self, job: WorkerJob) -> None:
        self.jobs.put(job)

    def job_ended(self, job: WorkerJob, failure: BaseException | None) -> None:
        self.failures.append(f"{type(failure).__name__}: {failure}" if failure else "")


@pytest.fixture
def server(start_ours: Callable[..., JobServer]) -> JobServer:
    return start_ours()


@pytest.fixture
def client(server: JobServer) -> Iterator[Client]:
    with Client(server.address, exceptions=True, timeout_s=DEADLINE_S) as client:
        yield client


def checks(job: WorkerJob, notes: list[str]) -> str:
    """Runs until it is stopped, and cleans up then; or ends at once."""
    if job.workload == b"short":
        return "done"
    try:
        while True:
            job.check_stopped()
            time.sleep(0.001)
    finally:
        notes.append("cleaned up")


def iterates(job: WorkerJob, notes: list[str]) -> None:
    try:
        for _ in job.iterate(iter(int, 1), every=0.01):
            time.sleep(0.001)
    except JobStopped:
        notes.append("cleaned up")
        raise


@pytest.mark.parametrize("function", [checks, iterates])
@pytest.mark.parametrize("prefetch", [1, 10])
def test_a_function_that_looks_ends_and_its_worker_goes_on(
    server: JobServer,
    client: Client,
    start_worker: Callable[..., Any],
    in_thread: Callable[..., Future[Any]],
    function: Callable[[WorkerJob, list[str]], Any],
    prefetch: int,
) -> None:
    began, notes = Began(), list[str]()
    callbacks = {"f": lambda job: function(job, notes), "g": lambda _job: "still here"}
    start_worker(server.address, callbacks, settings=WorkerSettings(prefetch=prefetch), observer=began)
    waiting = in_thread(client.submit, "f", b"long")
    job = began.jobs.get(timeout=DEADLINE_S)
    with Client(server.address) as operator:
        assert operator.stop(job.handle)
        with pytest.raises(JobException, match=r"^stopped$"):
            waiting.result(5)  # the server itself would end it after ten seconds
        assert operator.submit("g", b"", timeout_s=DEADLINE_S) == b"still here"
        assert not operator.stop(job.handle)
    assert notes == ["cleaned up"]
    assert began.failures[0] == "JobStopped: f was stopped"


@pytest.mark.parametrize("kind", [ConcurrentWorker, PolledWorker])
def test_of_several_jobs_only_the_one_that_is_stopped_hears_of_it(
    server: JobServer, client: Client, kind: type[ConcurrentWorker]
) -> None:
    with kind(str(server.address)) as worker:
        worker.register("f")
        handles = [client.submit_background("f", text) for text in "abc"]
        jobs: list[WorkerJob] = []

        def have_come() -> bool:
            jobs.extend(worker.take(3 - len(jobs)))
            return len(jobs) == 3

        wait_for(have_come, "three jobs")
        assert client.stop(handles[1])
        wait_for(lambda: worker.take(0) or any(job.must_stop for job in jobs), "one hears of it")
        assert [job.must_stop for job in jobs] == [False, True, False]
        with pytest.raises(JobStopped, match="f was stopped"):
            jobs[1].check_stopped()
        jobs[0].check_stopped()


def test_who_does_not_want_to_hear_of_it_is_not_told(
    server: JobServer, client: Client, start_worker: Callable[..., Any], in_thread: Callable[..., Future[Any]]
) -> None:
    began = Began()
    gate: queue.Queue[None] = queue.Queue()

    def function(job: WorkerJob) -> bool:
        gate.get(timeout=DEADLINE_S)
        return job.must_stop

    start_worker(server.address, {"f": function}, settings=WorkerSettings(hears_stops=False), observer=began)
    waiting = in_thread(client.submit, "f", b"w")
    handle = began.jobs.get(timeout=DEADLINE_S).handle
    with Client(server.address) as operator:
        assert operator.stop(handle)
    with pytest.raises(JobException, match=r"^stopped$"):
        waiting.result(5)  # at once, because nobody can be told
    gate.put(None)
    wait_for(lambda: began.failures == [""], "the function goes on for nothing")


def test_a_stop_that_crosses_the_answer_is_nobodys(
    server: JobServer, client: Client, start_worker: Callable[..., Any]
) -> None:
    began, notes = Began(), list[str]()
    start_worker(server.address, {"f": lambda job: checks(job, notes)}, observer=began)
    assert client.submit("f", b"short") == b"done"
    assert not client.stop(began.jobs.get(timeout=DEADLINE_S).handle)
    assert client.submit("f", b"short") == b"done"
