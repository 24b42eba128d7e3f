"""Calls of the asynchronous client that are cancelled, or whose time is over: the others on the connection go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gearman_client import AsyncClient, CouldNotConnect, Timeout
from gearman_client.async_client.link import LINGER_S, MAX_LEFT
from gearman_client.packet import PacketType

from ..conftest import RunningWorker
from .conftest import JobServer, LoopServer

T = PacketType
Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def turns(count: int) -> None:
    """Let the event loop turn so often."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_one_that_waits_for_the_connection_leaves_it_to_the_others(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            first = asyncio.create_task(client.submit("f", b"1"))
            second = asyncio.create_task(client.submit("f", b"2"))
            peer = await server.accept()
            await peer.expect(T.OPTION_REQ, b"exceptions")
            await cancelled(first)
            peer.send(T.OPTION_RES, b"exceptions")
            await peer.expect(T.SUBMIT_JOB, b"f", b"", b"2")
            peer.send(T.JOB_CREATED, b"H:a:2")
            peer.send(T.WORK_COMPLETE, b"H:a:2", b"two")
            assert await second == b"two"
            assert not server.has_new_peer

    run_quietly(body())


def test_one_whose_job_is_not_acknowledged_leaves_the_answers_in_order(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            calls = [asyncio.create_task(client.submit("f", b"%d" % number)) for number in range(3)]
            peer = await server.greet()
            for number in range(3):
                await peer.expect(T.SUBMIT_JOB, b"f", b"", b"%d" % number)
            await cancelled(calls[1])
            for number in range(3):
                peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            for number in range(3):
                peer.send(T.WORK_DATA, b"H:a:%d" % number, b"part")
                peer.send(T.WORK_COMPLETE, b"H:a:%d" % number, b"of %d" % number)
            assert [await calls[0], await calls[2]] == [b"of 0", b"of 2"]
            assert not server.has_new_peer

    run_quietly(body())


def test_one_whose_job_is_under_way_hears_nothing_more(run_quietly: Run) -> None:
    async def body() -> None:
        heard: list[bytes] = []
        async with LoopServer() as server, AsyncClient(server.address) as client:
            left = asyncio.create_task(client.submit("f", b"left", on_data=heard.append))
            peer = await server.greet()
            await peer.next()
            peer.send(T.JOB_CREATED, b"H:a:1")
            peer.send(T.WORK_DATA, b"H:a:1", b"heard")
            while not heard:
                await asyncio.sleep(0)
            await cancelled(left)
            peer.send(T.WORK_DATA, b"H:a:1", b"not heard")
            other = asyncio.create_task(client.submit("f", b"other"))
            await peer.expect(T.SUBMIT_JOB, b"f", b"", b"other")
            peer.send(T.WORK_EXCEPTION, b"H:a:1", b"of nobody")
            peer.send(T.JOB_CREATED, b"H:a:2")
            peer.send(T.WORK_COMPLETE, b"H:a:2", b"done")
            assert await other == b"done"
        assert heard == [b"heard"]

    run_quietly(body())


def test_one_that_waits_for_room_sends_nothing(run_quietly: Run) -> None:
    big = bytes(32 * 1024 * 1024)

    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            first = asyncio.create_task(client.submit_background("f", big))
            peer = await server.greet()
            await turns(5)
            waiting = [asyncio.create_task(client.submit_background("f", b"%d" % number)) for number in range(3)]
            await turns(5)
            await cancelled(waiting[1])
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", big)
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"0")
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"2")
            for number in range(3):
                peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            assert [await first, await waiting[0], await waiting[2]] == ["H:a:0", "H:a:1", "H:a:2"]

    run_quietly(body())


CALLS: dict[str, Callable[[AsyncClient], Coroutine[Any, Any, Any]]] = {
    "submit": lambda client: client.submit("echo", b"x"),
    "submit_background": lambda client: client.submit_background("none", b"x"),
    "submit_background_many": lambda client: client.submit_background_many("none", [b"x"] * 300),
    "status": lambda client: client.status("H:a:1"),
    "status_unique": lambda client: client.status_unique("u"),
    "result": lambda client: client.result("H:a:1", timeout_s=0.1),
    "echo": lambda client: client.echo(b"x"),
    "ping": lambda client: client.ping(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_connected", [False, True])
def test_any_call_may_be_cancelled_at_any_time(
    start_ours: Callable[..., JobServer],
    start_worker: Callable[..., RunningWorker],
    run_quietly: Run,
    call: str,
    is_connected: bool,
) -> None:
    server = start_ours()
    start_worker(server.address, {"echo": lambda job: job.workload})

    async def cancel_after(count: int) -> bool:
        """Whether the call had ended before."""
        async with AsyncClient(server.address, timeout_s=30) as client:
            if is_connected:
                await client.echo()
            task = asyncio.create_task(CALLS[call](client))
            await turns(count)
            if task.done():
                task.exception()
                return True
            await cancelled(task)
            assert await client.submit("echo", b"%d" % count) == b"%d" % count
            assert await client.echo(b"still") == b"still"
            return False

    async def body() -> None:
        count = 0
        while not await cancel_after(count) and count < 200:
            count += 1

    run_quietly(body())


def test_a_job_that_nobody_waits_for_is_given_up_by_the_server(job_server: JobServer, run_quietly: Run) -> None:
    async def body() -> None:
        async with AsyncClient(job_server.address) as client:
            await client.echo()
            with pytest.raises(Timeout, match=str(job_server.address)):
                await client.submit("nobody", b"", timeout_s=0.05)
            await cancelled_soon(client)
            # gearmand keeps such a job in its list, without waiting clients (the third column), until a worker comes.
            while "\t0\t1\t0\n" not in (jobs := await asyncio.to_thread(job_server.text, "show jobs")):
                if jobs == ".\n":
                    break
                await asyncio.sleep(0.05)
            assert await client.echo() == b"ping"

    async def cancelled_soon(client: AsyncClient) -> None:
        task = asyncio.create_task(client.submit("nobody", b""))
        await client.echo()
        await cancelled(task)

    run_quietly(body())


def test_a_left_job_is_given_up_once_the_last_wanted_one_has_ended(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            left = asyncio.create_task(client.submit("f", b"left"))
            wanted = asyncio.create_task(client.submit("f", b"wanted"))
            peer = await server.greet()
            for handle in (b"H:a:1", b"H:a:2"):
                await peer.next()
                peer.send(T.JOB_CREATED, handle)
            await cancelled(left)
            await asyncio.sleep(LINGER_S * 1.5)
            peer.send(T.WORK_COMPLETE, b"H:a:2", b"done")
            assert await wanted == b"done"
            assert await peer.read_to_end() == []

    run_quietly(body())


def test_a_connection_with_too_many_left_jobs_is_replaced_and_ends_with_its_last_wanted_one(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            wanted = asyncio.create_task(client.submit("f", b"wanted"))
            old = await server.greet()
            await old.next()
            left = [asyncio.create_task(client.submit("f", b"left")) for _ in range(MAX_LEFT + 1)]
            for number in range(MAX_LEFT + 1):
                await old.next()
                old.send(T.JOB_CREATED, b"H:a:%d" % number)
            for task in left:
                task.cancel()
            assert set(map(type, await asyncio.gather(*left, return_exceptions=True))) == {asyncio.CancelledError}
            fresh = asyncio.create_task(client.echo(b"fresh"))
            new = await server.greet()
            await new.expect(T.ECHO_REQ, b"fresh")
            new.send(T.ECHO_RES, b"fresh")
            assert await fresh == b"fresh"
            old.send(T.JOB_CREATED, b"H:a:last")
            old.send(T.WORK_COMPLETE, b"H:a:0", b"done")
            assert await wanted == b"done"
            assert await old.read_to_end() == []

    run_quietly(body())


def test_a_call_whose_time_is_over_while_it_connects_names_the_server(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            with pytest.raises(CouldNotConnect, match=f"{server.address}: no answer within"):
                await client.submit("f", b"", timeout_s=0.05)
            peer = await server.greet()
            answer = asyncio.create_task(client.echo(b"x"))
            await peer.expect(T.ECHO_REQ, b"x")
            peer.send(T.ECHO_RES, b"x")
            assert await answer == b"x"

    run_quietly(body())


def test_an_error_in_a_callback_reaches_its_caller_alone(run_quietly: Run) -> None:
    def refuse(_data: bytes) -> None:
        raise KeyError("mine")

    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address) as client:
            bad = asyncio.create_task(client.submit("f", b"1", on_data=refuse))
            good = asyncio.create_task(client.submit("f", b"2"))
            peer = await server.greet()
            for number in (1, 2):
                await peer.next()
                peer.send(T.JOB_CREATED, b"H:a:%d" % number)
            for number in (1, 2):
                peer.send(T.WORK_DATA, b"H:a:%d" % number, b"part")
                peer.send(T.WORK_COMPLETE, b"H:a:%d" % number, b"done")
            with pytest.raises(KeyError, match="mine"):
                await bad
            assert await good == b"done"

    run_quietly(body())


def test_a_failure_in_a_task_group_cancels_the_other_jobs(
    job_server: JobServer, start_worker: Callable[..., RunningWorker], run_quietly: Run
) -> None:
    start_worker(job_server.address, {"bad": lambda job: job.fail(), "echo": lambda job: job.workload})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            never: list[asyncio.Task[bytes]] = []

            async def both() -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(client.submit("bad", b""))
                    never.append(group.create_task(client.submit("nobody", b"")))

            with pytest.raises(BaseExceptionGroup):
                await both()
            assert never[0].cancelled()
            assert await client.submit("echo", b"x") == b"x"

    run_quietly(body())
