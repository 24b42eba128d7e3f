"""Chains, batches, stops and functions that put their job back, in the eager server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import AsyncClient, Client, FollowUp, JobException, JobStopped, ServerError, WorkerJob
from gearman_client.testing import EagerServer


@pytest.fixture
def server() -> Iterator[EagerServer]:
    with EagerServer() as server:
        server.register("double", lambda job: job.workload * 2)
        server.register("refuse", refuse)
        server.register("done", lambda job: b"")
        yield server


@pytest.fixture
def client(server: EagerServer) -> Client:
    return Client("any.host", exceptions=True)


def refuse(job: WorkerJob) -> None:
    raise ValueError("no")


def seen(server: EagerServer) -> list[tuple[str, bytes, str]]:
    return [(job.function, job.workload, job.state) for job in server.jobs]


def test_a_chain_hands_results_on(server: EagerServer, client: Client) -> None:
    client.submit_background(
        "double", b"a", then=["double", FollowUp("done", tags=["t"], priority=9)], on_failure="done"
    )
    server.run_all()
    jobs = [("double", b"a"), ("double", b"aa"), ("done", b"aaaa")]
    assert [(function, workload) for function, workload, _ in seen(server)] == jobs
    assert server.jobs[2].option("tag") == "t"
    assert server.jobs[2].priority == "high"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_failed_link_goes_to_on_failure(server: EagerServer, client: Client, at_once: bool) -> None:
    server.at_once = at_once
    handle = client.submit_background("refuse", b"w", unique="u", then=["double", "double"], on_failure="done")
    server.run_all()
    assert [job.function for job in server.jobs] == ["refuse", "done"]
    told = {"handle": handle, "function": "refuse", "unique": "u", "outcome": "failed", "error": "ValueError: no"}
    assert server.jobs[1].json() == told
    client.submit_background("double", bytes(600_000), then=["double"], on_failure=FollowUp("done", "own"))
    server.run_all()
    assert [job.workload for job in server.jobs[3:]] == [b"own"]


def test_callbacks_follow_when_the_last_job_has_ended(server: EagerServer, client: Client) -> None:
    def adds(job: WorkerJob) -> None:
        client.submit_background("double", b"from a job", batch=job.batch)

    server.register("adds", adds)
    with client.batch(on_complete="done", on_success=FollowUp("done", "all is well"), on_failure="done") as batch:
        batch.background("double", b"1", then=["double"])
        batch.background("adds", b"")
        assert len(batch.background_many("double", [b"2", b"3"])) == 2
        server.run_all("double", "adds")
        assert (batch.status().jobs, batch.status().waiting, batch.status().state) == (6, 0, "open")
    assert batch.status().is_success
    assert [job.workload for job in server.waiting][1:] == [b"all is well"]
    facts = {"batch": batch.id, "jobs": 6, "complete": 6, "failed": 0, "expired": 0, "cancelled": 0, "stopped": 0}
    assert server.waiting[0].json() == facts | {"success": True}
    with pytest.raises(ServerError, match="closed"):
        client.submit_background("double", b"", batch=batch.id)
    with pytest.raises(ServerError, match="there is no batch of this id"):
        client.submit_background("double", b"", batch="nobody")
    assert client.batch_status("nobody").state == "unknown"


def test_a_batch_that_fails_or_is_cancelled_is_no_success(server: EagerServer, client: Client) -> None:
    batch = client.batch(on_success="double", on_failure="done")
    batch.background("refuse", b"")
    batch.background("double", b"late", expires="1m", delay=5)
    batch.background("double", b"waits")
    server.run_all("refuse")
    server.advance("1h")
    server.run_all("double")
    batch.background("double", b"waits too")
    assert batch.cancel().state == "done"
    [callback] = server.waiting
    counts = {"complete": 1, "failed": 1, "expired": 1, "cancelled": 1}
    assert {name: callback.json()[name] for name in counts} == counts
    assert batch.status().is_cancelled
    assert server.jobs[3].reason == b"cancelled"


def test_with_at_once_callbacks_run_too_and_asyncio_has_batches(server: EagerServer) -> None:
    server.at_once = True

    async def run() -> str:
        async with AsyncClient("any.host") as client:
            async with client.batch(on_success="done") as batch:
                await batch.background_many("double", [b"1", b"2"])
            return (await client.batch_status(batch.id)).state

    assert asyncio.run(run()) == "done"
    assert [(job.function, job.state) for job in server.jobs] == [*[("double", "complete")] * 2, ("done", "complete")]


def test_a_job_is_stopped_or_cancelled(
    server: EagerServer, client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    began, steps = threading.Event(), list[str]()

    def waits(job: WorkerJob) -> str:
        began.set()
        try:
            while True:
                job.check_stopped()
        except JobStopped:
            steps.append("cleaned up")
            raise

    server.register("waits", waits, retries=5)
    waiting = client.submit_background("double", b"", on_failure="done")
    assert [client.stop(handle) for handle in (waiting, waiting, "H:nobody:1")] == [True, False, False]
    assert [job.json()["outcome"] for job in server.waiting] == ["cancelled"]
    result = in_thread(Client("any.host", exceptions=True).submit, "waits", b"")
    assert began.wait(20)
    assert client.stop(server.jobs[-1].handle)
    with pytest.raises(JobException, match=r"^stopped$"):
        result.result(20)
    assert (steps, server.jobs[-1].outcome, server.jobs[-1].attempts) == (["cleaned up"], "stopped", 1)


def test_a_job_that_its_function_puts_back_costs_no_attempt(server: EagerServer, client: Client) -> None:
    from gearman_manager import Throttled

    attempts: list[int | None] = []

    def slow(job: WorkerJob) -> str:
        attempts.append(job.attempt)
        if len(attempts) < 4:
            raise Throttled("421", after="5m", scope="function")
        if len(attempts) == 4:
            raise ValueError("once")
        return "done"

    server.register("slow", slow, retries=1)
    assert client.submit("slow", b"") == b"done"
    assert attempts == [1, 1, 1, 1, 2]
    assert (server.jobs[0].attempts, server.jobs[0].throttled) == (2, 3)

    def always(job: WorkerJob) -> None:
        raise Throttled("421", after="5m")

    server.register("always", always)
    with pytest.raises(JobException, match="Throttled: 421"):
        client.submit("always", b"")


def test_a_submission_that_joined_a_job_is_known_too(server: EagerServer, client: Client) -> None:
    handle = client.submit_background("double", b"1", unique="u")
    assert client.submit_background("double", b"1", unique="u", submission="s") == handle
    server.run_all()
    assert client.submit_background("double", b"1", unique="u", submission="s") == handle
    assert client.submit_background("double", b"1", unique="u") != handle
