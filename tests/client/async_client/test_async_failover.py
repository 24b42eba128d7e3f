"""Servers of an asynchronous client that are down, die, or say nothing: as with the blocking one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gearman_client import (
    Address,
    AsyncClient,
    ConnectionLost,
    CouldNotConnect,
    JobNotAcknowledged,
    JobNotKnown,
    Timeout,
)
from gearman_client.async_client import servers as servers_module
from gearman_client.client.attempts import MAX_LOSSES
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ...silent_proxy import silent_proxy
from ..conftest import RunningWorker
from .conftest import LoopPeer, LoopServer

T = PacketType
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@asynccontextmanager
async def two_servers(**options: Any) -> Any:
    """A client of two servers that the test plays. Without a key the first one gets the jobs."""
    options = {"exceptions": False, "timeout_s": 60, **options}
    async with (
        LoopServer() as first,
        LoopServer() as second,
        AsyncClient([first.address, second.address], **options) as client,
    ):
        yield first, second, client


async def accept_job(server: LoopServer, handle: bytes = b"H:1") -> LoopPeer:
    peer = await server.accept()
    await peer.expect(T.SUBMIT_JOB, b"f", b"", b"w")
    peer.send(T.JOB_CREATED, handle)
    await peer.writer.drain()
    return peer


async def connect(client: AsyncClient, server: LoopServer) -> LoopPeer:
    """Have the client open its connection, which a short time would not suffice for on a busy machine."""
    call = asyncio.create_task(client.echo(b"first"))
    peer = await server.accept()
    await peer.expect(T.ECHO_REQ, b"first")
    peer.send(T.ECHO_RES, b"first")
    assert await call == b"first"
    return peer


@pytest.fixture
def swallower() -> Iterator[Address]:
    """An address that accepts connections, as a stopped process does, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield Address("127.0.0.1", listener.getsockname()[1])


def test_a_job_whose_server_died_is_submitted_to_the_other_one(run_quietly: Run) -> None:
    async def body() -> None:
        created: list[Any] = []
        async with two_servers() as (first, second, client):
            job = asyncio.create_task(client.submit("f", "w", on_created=lambda handle: created.append(handle.server)))
            peer = await accept_job(first)
            first.stop_listening()
            peer.writer.close()
            (await accept_job(second)).send(T.WORK_COMPLETE, b"H:1", b"done")
            assert await job == b"done"
            assert created == [first.address, second.address]

    run_quietly(body())


def test_a_job_that_a_server_does_not_take_because_it_is_ending_goes_to_the_other_one(run_quietly: Run) -> None:
    async def body() -> None:
        async with two_servers() as (first, second, client):
            running = asyncio.create_task(client.submit("f", "w"))
            peer = await accept_job(first)
            calls = [
                asyncio.create_task(client.submit("f", "w", resubmit=False)),
                asyncio.create_task(client.submit_background("f", "w")),
            ]
            await peer.expect(T.SUBMIT_JOB, b"f", b"", b"w")
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"w")
            first.stop_listening()
            for _ in calls:
                peer.send(T.ERROR, b"QUEUE_ERROR", b"The server is shutting down")
            other = await second.accept()
            await other.expect(T.SUBMIT_JOB, b"f", b"", b"w")
            other.send(T.JOB_CREATED, b"H:2")
            other.send(T.WORK_COMPLETE, b"H:2", b"taken")
            await other.expect(T.SUBMIT_JOB_BG, b"f", b"", b"w")
            other.send(T.JOB_CREATED, b"H:3")
            assert await asyncio.gather(*calls) == [b"taken", "H:3"]
            # What the first one had taken before is still finished there.
            peer.send(T.WORK_COMPLETE, b"H:1", b"done")
            assert await running == b"done"

    run_quietly(body())


def test_a_caller_can_forbid_that_a_job_is_submitted_twice(run_quietly: Run) -> None:
    async def body() -> None:
        async with two_servers() as (first, second, client):
            job = asyncio.create_task(client.submit("f", "w", resubmit=False))
            (await accept_job(first)).writer.close()
            with pytest.raises(ConnectionLost, match=str(first.address)):
                await job
            assert not second.has_new_peer

    run_quietly(body())


def test_a_server_that_takes_a_job_and_says_nothing_is_left_for_the_other_one(run_quietly: Run) -> None:
    async def body() -> None:
        async with two_servers(reply_timeout_s=1) as (first, second, client):
            job = asyncio.create_task(client.submit("f", "w"))
            silent = await first.accept()
            await silent.expect(T.SUBMIT_JOB, b"f", b"", b"w")
            (await accept_job(second)).send(T.WORK_COMPLETE, b"H:1", b"done")
            assert await job == b"done"

    run_quietly(body())


def test_a_silent_server_gets_half_of_the_time_that_a_call_has(run_quietly: Run) -> None:
    async def body() -> None:
        async with two_servers(reply_timeout_s=1000) as (first, second, client):
            job = asyncio.create_task(client.submit("f", "w", timeout_s=4))
            silent = await first.accept()
            await silent.next()
            other = await accept_job(second)
            other.send(T.WORK_COMPLETE, b"H:1", b"done")
            assert await job == b"done"
            # The server that said nothing is not asked while the other one answers.
            again = asyncio.create_task(client.echo(b"again"))
            await other.expect(T.ECHO_REQ, b"again")
            other.send(T.ECHO_RES, b"again")
            assert await again == b"again"

    run_quietly(body())


def test_one_server_that_is_restarted_under_a_job_gets_it_again(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False, timeout_s=60) as client:
            job = asyncio.create_task(client.submit("f", "w"))
            (await accept_job(server)).writer.close()
            (await accept_job(server, b"H:2")).send(T.WORK_COMPLETE, b"H:2", b"done")
            assert await job == b"done"

    run_quietly(body())


def test_a_job_that_no_server_survives_is_given_up(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            job = asyncio.create_task(client.submit("f", "w"))
            for _ in range(MAX_LOSSES + 1):
                (await accept_job(server)).writer.close()
            with pytest.raises(ConnectionLost, match="closed by the job server"):
                await job

    run_quietly(body())


def test_a_job_whose_only_server_stays_away_names_what_happened(run_quietly: Run) -> None:
    async def body() -> None:
        async with (
            LoopServer() as server,
            AsyncClient(server.address, exceptions=False, connect_timeout_s=1) as client,
        ):
            job = asyncio.create_task(client.submit("f", "w"))
            peer = await accept_job(server)
            server.stop_listening()
            peer.writer.close()
            with pytest.raises(ConnectionLost, match="no server for another attempt: could not connect"):
                await job

    run_quietly(body())


def test_a_background_job_that_was_not_acknowledged_is_not_known_and_not_sent_again(run_quietly: Run) -> None:
    async def body() -> None:
        async with two_servers() as (first, second, client):
            job = asyncio.create_task(client.submit_background("f", "w"))
            peer = await first.accept()
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"w")
            peer.writer.close()
            with pytest.raises(
                JobNotKnown, match=f"{first.address} did not acknowledge the background job f"
            ) as raised:
                await job
            assert raised.value.server == str(first.address)
            assert not isinstance(raised.value, Timeout)
            assert not second.has_new_peer

    run_quietly(body())


def test_a_background_job_that_is_not_acknowledged_in_time_is_not_known_either(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            await connect(client, server)
            with pytest.raises(JobNotAcknowledged, match="did not acknowledge"):
                await client.submit_background("f", "w", timeout_s=0.2)
            with pytest.raises(JobNotAcknowledged, match="did not acknowledge 3 jobs") as raised:
                await client.submit_background_many("f", [b"w"] * 3, timeout_s=0.2)
            assert raised.value.accepted == []

    run_quietly(body())


def test_many_background_jobs_name_those_that_were_acknowledged(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            many = asyncio.create_task(client.submit_background_many("f", [b"w"] * 5))
            peer = await server.accept()
            for number in range(5):
                await peer.next()
                if number < 2:
                    peer.send(T.JOB_CREATED, b"H:%d" % number)
            await peer.writer.drain()
            peer.writer.close()
            with pytest.raises(JobNotKnown, match="did not acknowledge 3 jobs") as raised:
                await many
            assert raised.value.accepted == ["H:0", "H:1"]

    run_quietly(body())


def test_a_background_job_that_waited_for_room_goes_to_the_other_server(run_quietly: Run) -> None:
    big = bytes(32 * 1024 * 1024)

    async def body() -> None:
        async with two_servers() as (first, second, client):
            stuck = asyncio.create_task(client.submit_background("f", big))
            peer = await first.accept()
            waiting = asyncio.create_task(client.submit_background("f", b"waits"))
            for _ in range(10):
                await asyncio.sleep(0)
            first.stop_listening()
            peer.writer.transport.abort()
            other = await second.accept()
            # A server acts on no part of a request, so the first job can't have been read either.
            sent = {await other.next(), await other.next()}
            assert sent == {(T.SUBMIT_JOB_BG, b"f\0\0" + big), (T.SUBMIT_JOB_BG, b"f\0\0waits")}
            other.send(T.JOB_CREATED, b"H:1")
            other.send(T.JOB_CREATED, b"H:2")
            assert {await stuck, await waiting} == {"H:1", "H:2"}

    run_quietly(body())


def test_a_background_job_whose_time_ends_while_it_waits_for_room_does_not_exist(run_quietly: Run) -> None:
    big = bytes(32 * 1024 * 1024)

    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            peer = await connect(client, server)
            stuck = asyncio.create_task(client.submit_background("f", big))
            for _ in range(10):
                await asyncio.sleep(0)
            with pytest.raises(Timeout) as raised:
                await client.submit_background("f", b"waits", timeout_s=0.2)
            assert not isinstance(raised.value, JobNotKnown)
            await peer.expect(T.SUBMIT_JOB_BG, b"f", b"", big)
            peer.send(T.JOB_CREATED, b"H:1")
            assert await stuck == "H:1"
            echo = asyncio.create_task(client.echo(b"next"))
            await peer.expect(T.ECHO_REQ, b"next")
            peer.send(T.ECHO_RES, b"next")
            assert await echo == b"next"

    run_quietly(body())


def test_questions_are_asked_again_when_the_connection_breaks(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            status = asyncio.create_task(client.status("H:a:1"))
            peer = await server.accept()
            await peer.expect(T.GET_STATUS, b"H:a:1")
            peer.writer.close()
            peer = await server.accept()
            await peer.expect(T.GET_STATUS, b"H:a:1")
            peer.send(T.STATUS_RES, b"H:a:1", b"1", b"0", b"0", b"0")
            assert (await status).known

    run_quietly(body())


def test_a_connection_that_was_silent_for_long_is_asked_before_it_is_trusted(
    gearmand: Gearmand, run_quietly: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with AsyncClient(proxy.address, timeout_s=60) as client:
            assert await client.echo(b"1") == b"1"
            proxy.forget()
            monkeypatch.setattr(servers_module, "IDLE_S", 0.0)
            assert (await client.submit_background("f", b"w")).startswith("H:")

    with silent_proxy(gearmand.address) as proxy:
        run_quietly(body())
    assert gearmand.ask("status").startswith("f\t1\t0\t0\n")


def test_a_server_that_says_nothing_holds_up_no_call_while_another_one_answers(
    gearmand: Gearmand, swallower: Address, run_quietly: Run
) -> None:
    async def body() -> None:
        async with AsyncClient([swallower, gearmand.address], connect_timeout_s=600) as client:
            handles = await asyncio.gather(*(client.submit_background("f", b"") for _ in range(50)))
            assert {handle.server for handle in handles} == {gearmand.address}
            assert (await client.status("H:none:1")).known is False

    run_quietly(body())


def test_with_no_server_that_answers_the_error_comes_in_time_and_names_each(
    swallower: Address, run_quietly: Run
) -> None:
    async def body() -> None:
        async with AsyncClient([swallower, "127.0.0.1:1"], connect_timeout_s=600) as client:
            with pytest.raises(CouldNotConnect) as failure:
                await client.submit("f", b"", timeout_s=2)
            assert f"{swallower}: no answer within" in str(failure.value)
            assert "127.0.0.1:1: Connection refused" in str(failure.value)

    run_quietly(body())


def test_a_server_that_sends_a_byte_now_and_then_does_not_stretch_the_time_of_a_call(run_quietly: Run) -> None:
    async def body() -> None:
        async with LoopServer() as server, AsyncClient(server.address, exceptions=False) as client:
            peer = await connect(client, server)
            call = asyncio.create_task(client.echo(b"x", timeout_s=0.5))
            for byte in b"\0RES\0\0\0\x11\0\0\0":
                peer.writer.write(bytes([byte]))
                await asyncio.sleep(0.1)
            with pytest.raises(Timeout, match=str(server.address)):
                await call

    run_quietly(body())


def test_a_name_that_does_not_exist_is_an_error_that_names_it(run_quietly: Run) -> None:
    async def body() -> None:
        async with AsyncClient("does-not-exist.invalid", timeout_s=30) as client:
            with pytest.raises(CouldNotConnect, match="does-not-exist"):
                await client.echo()

    run_quietly(body())


def test_no_call_fails_while_one_of_two_servers_is_killed_and_started_again_and_again(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker], run_quietly: Run
) -> None:
    servers = [start_gearmand(), start_gearmand()]
    for server in servers:
        start_worker(server.address, {"echo": lambda job: job.workload})

    async def body() -> int:
        done = 0
        is_over = False

        async def caller(number: int, client: AsyncClient) -> None:
            nonlocal done
            count = 0
            while not is_over:
                count += 1
                workload = b"%d %d" % (number, count)
                assert await client.submit("echo", workload, unique=f"{number} {count}") == workload
                done += 1

        async with (
            AsyncClient([server.address for server in servers], timeout_s=60) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(50):
                group.create_task(caller(number, client))
            for victim in servers * 3:
                before = done
                while done < before + 100:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(victim.kill)
                before = done
                while done < before + 100:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(victim.start)
            is_over = True
        return done

    assert run_quietly(body()) > 1000
