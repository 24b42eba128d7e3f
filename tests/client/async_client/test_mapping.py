"""`AsyncClient.map`: results in order or as they come, with a bounded number of jobs under way."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from gearman_client import ArgumentError, AsyncClient, JobFailed, WorkerJob
from gearman_client.packet import PacketType

from ..conftest import RunningWorker
from .conftest import JobServer, LoopServer

T = PacketType
StartWorker = Callable[..., RunningWorker]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

NUMBERS = [b"%d" % number for number in range(300)]


async def later(workloads: list[bytes]) -> AsyncIterator[bytes]:
    for workload in workloads:
        await asyncio.sleep(0)
        yield workload


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_each_workload_has_a_result(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run, as_completed: bool, is_async: bool
) -> None:
    for _ in range(3):
        start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> list[bytes]:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            workloads = later(NUMBERS) if is_async else iter(NUMBERS)
            return [result async for result in client.map("echo", workloads, window=20, as_completed=as_completed)]

    found = run_quietly(body())
    assert sorted(found) == sorted(NUMBERS)
    assert as_completed or found == NUMBERS


def test_results_come_as_they_complete_or_in_order(run_quietly: Run) -> None:
    async def body(as_completed: bool) -> list[bytes]:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            found = []

            async def take() -> None:
                async for result in client.map("f", NUMBERS[:3], as_completed=as_completed):
                    found.append(result)

            taking = asyncio.create_task(take())
            peer = await server.greet()
            for number in range(3):
                await peer.next()
                peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            for number in (2, 0, 1):
                peer.send(T.WORK_COMPLETE, b"H:a:%d" % number, b"%d" % number)
                if as_completed:
                    while not found or found[-1] != b"%d" % number:
                        await asyncio.sleep(0)
            await taking
            return found

    assert run_quietly(body(as_completed=True)) == [b"2", b"0", b"1"]
    assert run_quietly(body(as_completed=False)) == [b"0", b"1", b"2"]


def test_a_result_does_not_wait_for_the_next_workload(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> None:
        seen = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            yield b"first"
            await seen.wait()
            yield b"second"

        async with AsyncClient(job_server.address, timeout_s=30) as client:
            found = []
            async for result in client.map("echo", source()):
                found.append(result)
                seen.set()
            assert found == [b"first", b"second"]

    run_quietly(body())


def test_the_source_is_read_only_as_far_as_there_is_room(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})
    read = 0

    def source() -> Iterator[bytes]:
        nonlocal read
        for number in range(100):
            read += 1
            yield b"%d" % number

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            taken = 0
            async for _ in client.map("echo", source(), window=7):
                taken += 1
                assert read <= taken + 7
            assert taken == read == 100

    run_quietly(body())


def test_a_failure_ends_it_and_cancels_the_rest(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    def refuse(job: WorkerJob) -> bytes:
        if job.workload == b"2":
            job.fail()
        return job.workload

    start_worker(job_server.address, {"f": refuse})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            found = []

            async def take() -> None:
                async for result in client.map("f", NUMBERS, window=5):
                    found.append(result)

            with pytest.raises(JobFailed):
                await take()
            assert found == NUMBERS[:2]
            assert len(asyncio.all_tasks()) == 2  # this one, and the one that waits for it
            assert await client.submit("f", b"again") == b"again"

    run_quietly(body())


def test_failures_can_be_given_in_their_places(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    def refuse(job: WorkerJob) -> bytes:
        if job.workload == b"2":
            job.fail()
        return job.workload

    start_worker(job_server.address, {"f": refuse})

    async def body() -> list[Any]:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            workloads: list[Any] = [b"1", b"2", 3, b"4"]
            return [result async for result in client.map("f", workloads, window=2, return_exceptions=True)]

    first, failed, unsendable, last = run_quietly(body())
    assert (first, last) == (b"1", b"4")
    assert isinstance(failed, JobFailed)
    assert isinstance(unsendable, ArgumentError)


@pytest.mark.parametrize("as_completed", [False, True])
def test_an_error_of_the_source_comes_after_the_results_of_the_workloads_before_it(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run, as_completed: bool
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def broken() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        raise KeyError("mine")

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            found: list[bytes] = []

            async def take() -> None:
                async for result in client.map("echo", broken(), as_completed=as_completed):
                    found.append(result)

            with pytest.raises(KeyError, match="mine"):
                await take()
            assert sorted(found) == [b"1", b"2"]
            assert len(asyncio.all_tasks()) == 2

    run_quietly(body())


def test_leaving_early_cancels_the_jobs_under_way(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            async with aclosing(client.map("echo", later(NUMBERS), window=10)) as results:
                assert await anext(results) == b"0"
            assert len(asyncio.all_tasks()) == 2
            assert await client.submit("echo", b"again") == b"again"

    run_quietly(body())


def test_wrong_arguments_are_refused_by_the_call() -> None:
    client = AsyncClient("127.0.0.1:1")
    with pytest.raises(ArgumentError, match="window 0: expected a whole number"):
        client.map("f", [], window=0)
    with pytest.raises(ArgumentError, match="workloads: expected a list"):
        client.map("f", b"one")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must not be empty"):
        client.map("", [])
    with pytest.raises(ArgumentError, match="priority 'urgent'"):
        client.map("f", [], priority="urgent")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="timeout_s 'soon'"):
        client.map("f", [], timeout_s="soon")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="64 bytes"):
        asyncio.run(client.status("x" * 64))
    with pytest.raises(TypeError, match=r"map\(\).*'ordered'"):
        client.map("f", [], ordered=True)  # type: ignore[call-arg]


def test_many_workloads_need_no_more_memory_than_few(
    start_ours: Callable[..., JobServer], start_worker: StartWorker, run_quietly: Run
) -> None:
    server = start_ours()
    start_worker(server.address, {"echo": lambda job: b""})

    async def peak(count: int) -> int:
        async with AsyncClient(server.address, timeout_s=60) as client:
            tracemalloc.reset_peak()
            async for _ in client.map("echo", (b"%d" % number for number in range(count)), window=50):
                pass
            return tracemalloc.get_traced_memory()[1]

    async def body() -> None:
        tracemalloc.start()
        try:
            few = await peak(500)
            assert await peak(5_000) < few + 200_000
        finally:
            tracemalloc.stop()

    run_quietly(body())
