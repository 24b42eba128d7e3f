"""A server that froze, or whose machine vanished, while it had jobs: its clients ask whether it is alive, and go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import (
    Address,
    AsyncClient,
    Client,
    CouldNotConnect,
    JobStatus,
    NotSupported,
    ResultUnknown,
    ServerSilent,
    Timeout,
)
from gearman_client.packet import PacketType

from ...server.server_process import ServerProcess
from ..conftest import Peer, RunningWorker, ScriptedServer

T = PacketType
#: Far above what is measured, far below the time of the calls.
SOON_S = 15.0


def submit(servers: list[Address], **options: Any) -> bytes:
    with Client(servers, timeout_s=60, reply_timeout_s=0.5) as client:
        return client.submit("echo", b"w", **options)


def submit_async(servers: list[Address], **options: Any) -> bytes:
    async def body() -> bytes:
        async with AsyncClient(servers, timeout_s=60, reply_timeout_s=0.5) as client:
            return await client.submit("echo", b"w", **options)

    return asyncio.run(body())


def in_a_set(servers: list[Address], **options: Any) -> bytes:
    # With a key it goes to the first server, as the others do.
    with Client(servers, timeout_s=60, reply_timeout_s=0.5) as client, client.task_set() as tasks:
        task = tasks.add("echo", b"w", unique="b", **options)
        tasks.wait()
        return task.result()


CALLS = [submit, submit_async, in_a_set]


@pytest.fixture
def frozen() -> Iterator[ServerProcess]:
    """Our server; the test stops its process."""
    server = ServerProcess("-L", "127.0.0.1")
    try:
        yield server
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        server.stop()


@pytest.fixture(scope="module")
def alive() -> Iterator[Address]:
    server = ServerProcess("-L", "127.0.0.1")
    try:
        yield Address("127.0.0.1", server.port)
    finally:
        server.stop()


@pytest.mark.parametrize("call", CALLS)
def test_a_job_of_a_server_that_froze_is_submitted_to_the_next_one_while_there_is_time(
    frozen: ServerProcess, alive: Address, start_worker: Callable[..., RunningWorker], call: Any
) -> None:
    start_worker(alive, {"echo": lambda job: job.workload})
    begun = time.monotonic()
    servers = [Address("127.0.0.1", frozen.port), alive]
    assert call(servers, on_created=lambda *_: _freeze_once(frozen)) == b"w"
    assert time.monotonic() - begun < SOON_S


def _freeze_once(server: ServerProcess) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_alive_may_take_as_long_as_its_worker(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], call: Any
) -> None:
    result = in_thread(call, [scripted_server.address])
    peer = scripted_server.accept()
    peer.expect(T.OPTION_REQ, b"exceptions")
    peer.send(T.OPTION_RES, b"exceptions")
    assert peer.next()[0] == T.SUBMIT_JOB
    peer.send(T.JOB_CREATED, b"H:1")
    for number in range(3):
        peer.expect(T.ECHO_REQ, b"alive?")
        if number == 1:
            peer.send(T.ERROR, b"UNKNOWN_COMMAND", b"but alive")
        else:
            peer.send(T.ECHO_RES, b"alive?")
    peer.send(T.WORK_COMPLETE, b"H:1", b"w")
    assert result.result(SOON_S) == b"w"


def test_an_answer_that_was_not_awaited_any_more_does_not_meet_the_next_request(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False, reply_timeout_s=0.5, timeout_s=60) as client:
        first = in_thread(client.submit, "f", b"")
        peer = scripted_server.accept()
        peer.next()
        peer.send(T.JOB_CREATED, b"H:1")
        peer.expect(T.ECHO_REQ, b"alive?")
        peer.send(T.WORK_COMPLETE, b"H:1", b"1")
        assert first.result(SOON_S) == b"1"
        second = in_thread(client.submit, "f", b"")
        peer = scripted_server.accept()
        peer.next()
        peer.send(T.JOB_CREATED, b"H:2")
        peer.send(T.WORK_COMPLETE, b"H:2", b"2")
        assert second.result(SOON_S) == b"2"


@pytest.mark.parametrize("call", [submit, submit_async])
def test_without_another_attempt_the_call_ends_with_the_reason(frozen: ServerProcess, call: Any) -> None:
    begun = time.monotonic()
    servers = [Address("127.0.0.1", frozen.port)]
    with pytest.raises(ServerSilent, match="stopped answering"):
        call(servers, resubmit=False, on_created=lambda *_: _freeze_once(frozen))
    assert time.monotonic() - begun < SOON_S


# A status at several servers.


@pytest.fixture
def swallower(start_scripted_server: Callable[[], ScriptedServer]) -> Address:
    """An address that accepts connections, as a stopped process does, and never says a word."""
    return start_scripted_server().address


def ask(servers: list[Address], name: str, *arguments: Any, **options: Any) -> Any:
    with Client(servers, **options) as client:
        return getattr(client, name)(*arguments)


def ask_async(servers: list[Address], name: str, *arguments: Any, **options: Any) -> Any:
    async def body() -> Any:
        async with AsyncClient(servers, **options) as client:
            return await getattr(client, name)(*arguments)

    return asyncio.run(body())


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_dead_server_delays_no_status_and_no_result(alive: Address, swallower: Address, ask: Any) -> None:
    with Client(alive) as client:
        handle = str(client.submit_background("nobody", b"", unique="known"))
    servers = [swallower, Address("127.0.0.1", 1), alive]
    for name, argument in (("status", handle), ("status_unique", "known")):
        begun = time.monotonic()
        assert ask(servers, name, argument).known
        assert time.monotonic() - begun < 0.45  # the patience with a server that is just being connected to is 0.5 s
        begun = time.monotonic()
        assert not ask(servers, name, "H:nobody:1").known
        assert time.monotonic() - begun < 3.0  # and 5 s is the limit for it
    with pytest.raises((CouldNotConnect, Timeout)):
        ask(servers, "result", "H:nobody:1", connect_timeout_s=0.5)
    with pytest.raises(ResultUnknown):
        ask([alive, alive], "result", "H:nobody:1")


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_all_servers_are_pinged_at_once(alive: Address, swallower: Address, ask: Any) -> None:
    begun = time.monotonic()
    servers = [swallower, *(Address("127.0.0.1", port) for port in (1, 2, 3)), swallower, swallower, alive]
    assert ask(servers, "ping", connect_timeout_s=1.0) == (alive,)
    assert time.monotonic() - begun < 2.0


def test_the_connections_of_a_status_at_several_servers_are_used_again(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    two = start_scripted_server(), start_scripted_server()
    with Client([server.address for server in two], exceptions=False, timeout_s=60) as client:
        peers: list[Peer] = []
        for turn in range(2):
            status = in_thread(client.status, "H:1")
            peers = peers or [server.accept() for server in two]
            for peer in peers:
                peer.expect(T.GET_STATUS, b"H:1")
            peers[turn].send(T.STATUS_RES, b"H:1", b"0", b"0", b"0", b"0")
            peers[1 - turn].send(T.STATUS_RES, b"H:1", b"1", b"1", b"2", b"3")
            assert status.result(SOON_S) == JobStatus(known=True, running=True, numerator=2, denominator=3)
        # One that is lost is asked once more, over a new connection.
        status = in_thread(client.status, "H:1")
        peers[0].expect(T.GET_STATUS, b"H:1")
        peers[1].expect(T.GET_STATUS, b"H:1")
        peers[1].send(T.STATUS_RES, b"H:1", b"0", b"0", b"0", b"0")
        peers[0].close()
        again = two[0].accept()
        again.expect(T.GET_STATUS, b"H:1")
        again.send(T.STATUS_RES, b"H:1", b"1", b"0", b"0", b"0")
        assert status.result(SOON_S).known
        # What a server does not know says so, if no other one knows it.
        status = in_thread(client.status_unique, "u")
        for peer in (again, peers[1]):
            peer.expect(T.GET_STATUS_UNIQUE, b"u")
            peer.send(T.ERROR, b"INVALID_COMMAND", b"")
        with pytest.raises(NotSupported):
            status.result(SOON_S)


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_a_call_without_time_submits_nothing(alive: Address, ask: Any) -> None:
    def submitted() -> str:
        with Client(alive) as client:
            return str(client.submit_background("counted", b""))

    first = int(submitted().rpartition(":")[2])
    for name, argument in (("submit", b""), ("submit_background", b""), ("submit_background_many", [b""])):
        for timeout_s in (0, -1):
            with pytest.raises(Timeout, match="nothing was sent"):
                ask([alive], name, "counted", argument, timeout_s=timeout_s)
    with Client(alive) as client, client.task_set() as tasks:
        task = tasks.add_background("counted", b"", timeout_s=0)
        tasks.wait()
        with pytest.raises(Timeout, match="nothing was sent"):
            task.result()
    assert int(submitted().rpartition(":")[2]) == first + 1
