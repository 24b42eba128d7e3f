"""Task sets on asyncio, against Debian's gearmand and our job server, and over servers that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from gearman_client import (
    ArgumentError,
    AsyncClient,
    AsyncTaskSet,
    ConnectionLost,
    CouldNotConnect,
    JobException,
    JobFailed,
    JobHandle,
    JobNotKnown,
    SetTask,
    Timeout,
    Unfinished,
    WorkerJob,
)
from gearman_client.packet import PacketType

from ..conftest import RunningWorker
from ..task_sets.conftest import Diary
from .conftest import JobServer, LoopServer

T = PacketType
StartWorker = Callable[..., RunningWorker]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def talk(job: WorkerJob) -> bytes:
    job.status(1, 4)
    job.data(b"chunk")
    job.warning(b"careful")
    return b"done"


def test_tasks_of_all_kinds_run_at_once(job_server: JobServer, start_worker: StartWorker, run_quietly: Run) -> None:
    functions = {"talk": talk, "fail": lambda job: job.fail(), "raise": lambda job: job.exception(b"why")}
    start_worker(job_server.address, functions)
    diary = Diary()

    async def body() -> None:
        async with AsyncClient(job_server.address) as client:
            handle = await client.submit_background("nobody", b"", unique="waits")
            async with client.task_set(timeout_s=30, **diary.callbacks) as tasks:
                talked = tasks.add("talk", b"", context="talk", unique="talk-1")
                failed = tasks.add("fail", b"", context="fail", retries=2)
                raised = tasks.add("raise", b"", context="raise")
                left = tasks.add_background("nobody", b"", context="left")
                asked = tasks.add_status(handle, context="asked")
                by_id = tasks.add_status_unique("waits", context="by id")
                assert tasks.unfinished == [talked, failed, raised, left, asked, by_id]
                assert await tasks.wait() == tasks.unfinished == []
                assert talked.result() == b"done"
                assert isinstance(left.result(), JobHandle)
                assert asked.result().known
                assert by_id.result().waiting_clients == 0
                with pytest.raises(JobFailed):
                    failed.result()
                with pytest.raises(JobException, match="why"):
                    raised.result()
                assert (await client.status(left.result())).known
                assert {task.context async for task in tasks} == {"talk", "fail", "raise", "left", "asked", "by id"}
            assert talked.unique == "talk-1"
            assert talked.handle is not None
            assert talked.handle.server == job_server.address
            assert (failed.attempts, talked.attempts) == (3, 1)

    run_quietly(body())
    reports = [("created",), ("status", 1, 4), ("data", b"chunk"), ("warning", b"careful"), ("complete",)]
    assert diary.of("talk") == reports
    assert diary.of("fail") == [("created",), ("retry",)] * 2 + [("created",), ("fail",)]
    assert diary.of("raise") == [("created",), ("exception", b"why"), ("fail",)]
    assert diary.of("left") == [("created",), ("complete",)]
    assert diary.of("asked") == diary.of("by id") == [("complete",)]


def test_tasks_come_as_they_are_done_and_may_be_added_meanwhile(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client, client.task_set() as tasks:
            tasks.add("echo", b"3")
            found = []
            async for task in tasks:
                found.append(task.result())
                if task.result() != b"0":
                    tasks.add("echo", b"%d" % (int(task.result()) - 1))
            assert found == [b"3", b"2", b"1", b"0"]

    run_quietly(body())


def test_limits_and_what_is_unfinished(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            tasks = client.task_set()
            patient = tasks.add("f", b"a")
            hasty = tasks.add("f", b"b", timeout_s=0.05)
            again = tasks.add("f", b"c", try_timeout_s=0.05, retries=1)
            left = tasks.add_background("f", b"d")
            peer = await server.greet()
            for number in range(4):
                await peer.next()
                if number < 3:
                    peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            assert await tasks.wait(0) == [patient, hasty, again, left]
            with pytest.raises(Timeout, match="are not done in the time allowed"):
                [task async for task in tasks.as_completed(0.3) if task is patient]
            assert tasks.unfinished == [patient, left]
            with pytest.raises(Unfinished, match="is not done"):
                patient.result()
            assert "0.05 s" in str(hasty.error)
            assert "the limit of an attempt" in str(again.error)
            assert again.attempts == 2
            await tasks.close()
            assert await tasks.wait() == []
            with pytest.raises(Unfinished, match="its set was closed"):
                patient.result()
            assert isinstance(left.error, JobNotKnown | Unfinished)

    run_quietly(body())


def test_what_a_callback_raises_comes_out_of_wait_and_the_tasks_go_on(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"talk": talk})

    def fail(*_: object) -> None:
        raise ZeroDivisionError("mine")

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client, client.task_set() as tasks:
            task = tasks.add("talk", b"", on_status=fail, on_complete=fail)
            for _ in range(2):
                with pytest.raises(ZeroDivisionError, match="mine"):
                    await tasks.wait()
            assert await tasks.wait() == []
            assert task.result() == b"done"
            with pytest.raises(ZeroDivisionError, match="mine"):
                [result async for result in client.map("talk", [b""], on_data=fail, return_exceptions=True)]

    run_quietly(body())


def test_jobs_without_a_key_are_shared_among_the_servers_and_go_on_when_one_is_lost(run_quietly: Run) -> None:
    async def serve(server: LoopServer, is_lost: bool) -> int:
        """Complete all jobs, or lose the connection once they are there; returns the number of jobs."""
        peer = await server.greet()
        jobs = 0
        while True:
            packet_type, body = await peer.next()
            if packet_type == T.ECHO_REQ:
                peer.send(T.ECHO_RES, body)
                continue
            assert packet_type == T.SUBMIT_JOB
            peer.send(T.JOB_CREATED, b"H:a:%d" % jobs)
            jobs += 1
            if not is_lost:
                peer.send(T.WORK_COMPLETE, b"H:a:%d" % (jobs - 1), body.rpartition(b"\0")[2])
            if is_lost and jobs == 50:
                server.stop_listening()
                peer.writer.transport.abort()
                return jobs
            if not is_lost and jobs == 100:
                return jobs

    async def body() -> None:
        retried: list[SetTask[Any]] = []
        async with (
            LoopServer() as one,
            LoopServer() as other,
            AsyncClient([one.address, other.address]) as client,
            client.task_set(timeout_s=30) as tasks,
        ):
            serving = asyncio.gather(serve(one, is_lost=True), serve(other, is_lost=False))
            assert len(await client.ping()) == 2  # so that it does not matter how long connecting takes
            for number in range(100):
                tasks.add("f", b"%d" % number, on_retry=retried.append)
            assert await tasks.wait() == []
            assert await serving == [50, 100]
            assert [task async for task in tasks if task.error is not None] == []
            assert len(retried) == 50
            assert all(task.attempts == 2 for task in retried)

    run_quietly(body())


def test_a_job_that_must_not_run_twice_is_lost_with_its_server(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            tasks = client.task_set(resubmit=False)
            task = tasks.add("f", b"")
            peer = await server.greet()
            await peer.next()
            peer.send(T.JOB_CREATED, b"H:a:1")
            await peer.writer.drain()
            peer.writer.transport.abort()
            await tasks.wait()
            with pytest.raises(ConnectionLost):
                task.result()

    run_quietly(body())


def test_map_retries_and_calls_back_as_that_of_the_blocking_client(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    calls: list[bytes] = []

    def at_the_second_time(job: WorkerJob) -> bytes:
        calls.append(job.workload)
        if calls.count(job.workload) < 2:
            job.fail()
        return job.workload

    start_worker(job_server.address, {"f": at_the_second_time, "talk": talk})
    diary = Diary()

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            workloads = [b"1", b"2", b"3"]
            assert [result async for result in client.map("f", workloads, retries=1)] == workloads
            options = {**diary.callbacks, "try_timeout_s": 0.02}
            [error] = [result async for result in client.map("nobody", [b""], return_exceptions=True, **options)]
            assert isinstance(error, Timeout)
            assert [name for name, *_ in diary.entries] == ["created", "fail"]
            heard: list[bytes] = []
            [_] = [_ async for _ in client.map("talk", [b""], on_data=lambda task, data: heard.append(data))]
            assert heard == [b"chunk"]

    run_quietly(body())


def test_mistakes_are_named_at_once(run_quietly: Run) -> None:
    async def coroutine(*_: object) -> None: ...

    async def body() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            with pytest.raises(ArgumentError, match="plain function"):
                client.task_set(on_complete=coroutine)
            misspelt: Any = {"retrys": 1}
            with pytest.raises(TypeError, match="did you mean retries"):
                client.task_set(**misspelt)
            tasks: AsyncTaskSet[bytes | str, bytes] = client.task_set()
            with pytest.raises(ArgumentError, match="plain function"):
                tasks.add("f", b"", on_data=coroutine)
            with pytest.raises(ArgumentError, match="retries -1"):
                tasks.add("f", b"", retries=-1)
            with pytest.raises(ArgumentError, match="is int"):
                tasks.add_status(1)  # type: ignore[arg-type]
            task = tasks.add("f", b"")
            await tasks.wait()
            assert isinstance(task.error, CouldNotConnect)

    run_quietly(body())


def test_iterations_of_several_coroutines_share_the_tasks(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client, client.task_set() as tasks:
            for number in range(20):
                tasks.add("echo", b"%d" % number)

            async def take(source: AsyncIterator[SetTask[bytes]]) -> list[bytes]:
                return [task.result() async for task in source]

            taken = await asyncio.gather(take(tasks.as_completed()), take(tasks.as_completed()))
            assert sorted([*taken[0], *taken[1]]) == sorted(b"%d" % number for number in range(20))

    run_quietly(body())
