"""One connection of an asynchronous client: when it counts as lost, on a clock that the test sets forward."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest

from gearman_client import Address, Timeout
from gearman_client.async_client.awaited import AwaitedAnswer
from gearman_client.async_client.link import Link
from gearman_client.connection.connection import Connection
from gearman_client.packet import PacketType, encode_request, encode_response

T = PacketType


class SetForward:
    """The clock of the running event loop, which can be set forward."""

    def __init__(self) -> None:
        self.by_s = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + self.by_s  # type: ignore[method-assign]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's end of a connection."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def ask(link: Link, data: bytes) -> asyncio.Task[Any]:
    return asyncio.create_task(link.ask(AwaitedAnswer(encode_request(T.ECHO_REQ, data), T.ECHO_RES), inf))


def taken(far: socket.socket) -> int:
    """Read all that has arrived; the number of bytes."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while data := far.recv(1024 * 1024):
            count += len(data)
    return count


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_server_that_answers_something_in_time_is_alive(ends: tuple[socket.socket, socket.socket]) -> None:
    async def body() -> None:
        clock = SetForward()
        near, far = ends
        lost: list[Any] = []
        link = Link(Connection(near, Address()), 10.0, lambda _link, reason: lost.append(reason))
        calls = [ask(link, b"%d" % number) for number in range(4)]
        for number, call in enumerate(calls):
            clock.by_s += 7.0
            await turns()
            far.sendall(encode_response(T.ECHO_RES, b"%d" % number))
            assert await call == b"%d" % number
        clock.by_s += 100.0  # nothing is due
        last = ask(link, b"last")
        await turns()
        assert lost == []
        clock.by_s += 9.0
        await turns()
        assert lost == []
        clock.by_s += 2.0
        with pytest.raises(Timeout, match="no answer from"):
            await last
        assert len(lost) == 1
        assert not link.is_open

    asyncio.run(body())


def test_a_server_that_takes_bytes_is_alive(ends: tuple[socket.socket, socket.socket]) -> None:
    async def body() -> None:
        clock = SetForward()
        near, far = ends
        far.setblocking(False)
        link = Link(Connection(near, Address()), 10.0, lambda *_: None)
        call = ask(link, bytes(16 * 1024 * 1024))
        await turns()
        for _ in range(5):
            clock.by_s += 7.0
            assert taken(far) > 0
            await turns()
        assert link.is_open
        clock.by_s += 11.0
        with pytest.raises(Timeout, match="no answer from"):
            await call

    asyncio.run(body())
