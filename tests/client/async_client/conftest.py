"""Job servers for the asynchronous client, Debian's and ours, and a way to run a coroutine beside a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import Address
from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser, PacketType, encode_response

from ...gearmand import Gearmand
from ..conftest import DEADLINE_S, Peer, ScriptedServer, without_discovery
from ..conftest import JobServer as JobServer

T = PacketType


@pytest.fixture(params=["gearmand", "ours"])
def job_server(request: pytest.FixtureRequest) -> JobServer:
    """Debian's gearmand and our server in turn."""
    if request.param == "ours":
        server: JobServer = request.getfixturevalue("start_ours")()
        return server
    gearmand: Gearmand = request.getfixturevalue("gearmand")
    return JobServer(gearmand.address, gearmand.ask)


class LoopPeer:
    """The server's end of one connection, played by a coroutine of the client's own event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._parser = PacketParser(REQUEST_MAGIC)
        self._packets: list[Packet] = []

    async def next(self) -> Packet:
        """The next packet from the client."""
        while not self._packets:
            data = await asyncio.wait_for(self._reader.read(65536), DEADLINE_S)
            if not data:
                raise AssertionError("the connection ended instead of a packet")
            self._packets += without_discovery(self._parser.feed(data))
        return self._packets.pop(0)

    async def expect(self, packet_type: int, *arguments: bytes) -> None:
        assert await self.next() == (packet_type, b"\0".join(arguments))

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.writer.write(encode_response(packet_type, *arguments))

    async def greet(self) -> None:
        """Answer the client's first question."""
        await self.expect(T.OPTION_REQ, b"exceptions")
        self.send(T.OPTION_RES, b"exceptions")

    async def read_to_end(self) -> list[Packet]:
        """All packets until the client closes the connection."""
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.wait_for(self._reader.read(65536), DEADLINE_S):
                self._packets += without_discovery(self._parser.feed(data))
        return self._packets


class LoopServer:
    """Listens in the event loop of the test, which plays the server: `async with LoopServer() as server`."""

    def __init__(self) -> None:
        self.address = Address()
        self._accepted: asyncio.Queue[LoopPeer] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._peers: list[LoopPeer] = []

    async def __aenter__(self) -> LoopServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            peer.writer.transport.abort()

    def stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def has_new_peer(self) -> bool:
        """Whether `accept` would return at once."""
        return not self._accepted.empty()

    async def accept(self) -> LoopPeer:
        """The next connection."""
        return await asyncio.wait_for(self._accepted.get(), DEADLINE_S)

    async def greet(self) -> LoopPeer:
        """The next connection, whose first question is answered."""
        peer = await self.accept()
        await peer.greet()
        return peer

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.append(LoopPeer(reader, writer))
        self._accepted.put_nowait(self._peers[-1])


@pytest.fixture
def run_quietly() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine in a new event loop; fails if the loop reports an error, such as one that nobody has seen."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        reports: list[dict[str, Any]] = []

        async def body() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, report: reports.append(report))
            try:
                return await asyncio.wait_for(coroutine, 2 * DEADLINE_S)
            finally:
                gc.collect()

        result = asyncio.run(body())
        gc.collect()
        assert reports == []
        return result

    return run


@pytest.fixture
def beside(in_thread: Callable[..., Future[Any]]) -> Callable[[Coroutine[Any, Any, Any]], Future[Any]]:
    """Runs a coroutine in an event loop of another thread, while the test plays the server."""
    return lambda coroutine: in_thread(asyncio.run, coroutine)


@pytest.fixture
def greeted(scripted_server: ScriptedServer) -> Callable[[], Peer]:
    """Accepts the connection of an asynchronous client and answers its first question."""

    def accept() -> Peer:
        peer = scripted_server.accept()
        peer.expect(T.OPTION_REQ, b"exceptions")
        peer.send(T.OPTION_RES, b"exceptions")
        return peer

    return accept
