"""Real peers for the client library: Debian's gearmand on its own port, and a scripted peer for all it can't do."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Address, Worker, WorkerObserver, WorkerSettings
from gearman_client.extensions import SERVERS_OPTION
from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser, PacketType, encode_response
from gearman_client.worker.link_context import OPTIONS_OF_OURS

from ..gearmand import Gearmand
from ..server.server_process import ServerProcess

DEADLINE_S = 20.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll `condition` until it is true. Only for conditions that no event announces."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.005)
    raise AssertionError(f"{what}: not within {DEADLINE_S} s")


@pytest.fixture
def start_gearmand() -> Iterator[Callable[[], Gearmand]]:
    """Starts any number of gearmands."""
    started: list[Gearmand] = []
    with tempfile.TemporaryDirectory() as folder:

        def start() -> Gearmand:
            own = Path(folder) / str(len(started))
            own.mkdir()
            gearmand = Gearmand(own, "-t", "1")
            started.append(gearmand)
            gearmand.start()
            return gearmand

        yield start
        for gearmand in started:
            gearmand.kill()


@pytest.fixture
def gearmand(start_gearmand: Callable[[], Gearmand]) -> Gearmand:
    """One running gearmand."""
    return start_gearmand()


@dataclass(frozen=True)
class JobServer:
    """A running job server; `text` sends a text command and returns the answer."""

    address: Address
    text: Callable[[str], str]
    kind: str = "gearmand"

    @property
    def is_ours(self) -> bool:
        return self.kind == "ours"


@pytest.fixture
def start_ours() -> Iterator[Callable[..., JobServer]]:
    """Starts any number of our servers, with options."""
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> JobServer:
            server = ServerProcess("-L", "127.0.0.1", *options)
            stack.callback(server.stop)
            return JobServer(
                Address("127.0.0.1", server.port), lambda line: server.text(line.encode()).decode(), "ours"
            )

        yield start


def without_discovery(packets: list[Packet]) -> list[Packet]:
    """The packets but for the question for the servers of the cluster, which scripted servers pass over."""
    return [packet for packet in packets if packet != (PacketType.OPTION_REQ, SERVERS_OPTION)]


class Peer:
    """The server's end of one connection, driven by the test."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(DEADLINE_S)
        self._parser = PacketParser(REQUEST_MAGIC)
        self._packets: list[Packet] = []

    def next(self) -> Packet:
        """The next packet from the client library."""
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise AssertionError("the connection ended instead of a packet")
            self._packets += without_discovery(self._parser.feed(data))
        return self._packets.pop(0)

    def expect(self, packet_type: int, *arguments: bytes) -> None:
        assert self.next() == (packet_type, b"\0".join(arguments))

    def read_once(self) -> list[Packet]:
        """All packets that one recv brings: those that were sent in one write."""
        assert not self._packets
        return without_discovery(self._parser.feed(self.socket.recv(1024 * 1024)))

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.socket.sendall(encode_response(packet_type, *arguments))

    def read_to_end(self) -> list[Packet]:
        """All packets until the client library closes its sending side."""
        with contextlib.suppress(ConnectionResetError):
            while data := self.socket.recv(65536):
                self._packets += without_discovery(self._parser.feed(data))
        packets, self._packets = self._packets, []
        return packets

    def greet(self, *functions: bytes, ours: bool = False) -> None:
        """Play the server's part up to the worker's first grab, and read that grab too."""
        self.expect(PacketType.OPTION_REQ, b"job-attempt")
        for function in functions:
            self.expect(PacketType.CAN_DO, function)
        if ours:
            self.send(PacketType.OPTION_RES, b"job-attempt")
            self.expect_options()
            self.send(PacketType.OPTION_RES, b"job-failure")
        else:
            self.send(PacketType.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
        self.expect(PacketType.GRAB_JOB_UNIQ)

    def expect_options(self) -> None:
        """Read the worker's questions for the extensions of our server."""
        for option in OPTIONS_OF_OURS:
            self.expect(PacketType.OPTION_REQ, option)

    def put_to_sleep(self) -> None:
        self.send(PacketType.NO_JOB)
        self.expect(PacketType.PRE_SLEEP)

    def close(self) -> None:
        self.socket.close()


class ScriptedServer:
    """Listens for connections; the test accepts them and plays the server."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self.peers: list[Peer] = []

    def accept(self) -> Peer:
        sock, _ = self._listener.accept()
        self.peers.append(Peer(sock))
        return self.peers[-1]

    def stop_listening(self) -> None:
        self._listener.close()

    def listen_again(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.address.port))
        self._listener.settimeout(DEADLINE_S)

    def close(self) -> None:
        self._listener.close()
        for peer in self.peers:
            peer.close()


@pytest.fixture
def start_scripted_server() -> Iterator[Callable[[], ScriptedServer]]:
    """Starts any number of scripted servers."""
    with contextlib.ExitStack() as stack:

        def start() -> ScriptedServer:
            server = ScriptedServer()
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def scripted_server(start_scripted_server: Callable[[], ScriptedServer]) -> ScriptedServer:
    """A listening socket; the test plays the server on its connections."""
    return start_scripted_server()


class RecordingObserver(WorkerObserver):
    """Keeps every report as a tuple (event, *details)."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def connected(self, address: Address) -> None:
        self.events.append(("connected", address))

    def disconnected(self, address: Address, reason: str) -> None:
        self.events.append(("disconnected", address, reason))

    def unreachable(self, address: Address, reason: str) -> None:
        self.events.append(("unreachable", address, reason))

    def result_lost(self, address: Address, handle: str) -> None:
        self.events.append(("result_lost", address, handle))

    def server_error(self, address: Address, code: str, text: str) -> None:
        self.events.append(("server_error", address, code, text))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in list(self.events) if event[0] == name]


@pytest.fixture
def observer() -> RecordingObserver:
    """Records the reports of a worker."""
    return RecordingObserver()


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """Runs a call in a thread of its own; the future gives its result or its exception."""
    threads: list[threading.Thread] = []

    def start(call: Callable[..., Any], *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(call(*arguments, **named))
            except BaseException as error:  # noqa: BLE001 - handed to the test by the future
                future.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        threads.append(thread)
        thread.start()
        return future

    yield start
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "a call of the test never returned"


@pytest.fixture
def worker(scripted_server: ScriptedServer, observer: RecordingObserver) -> Iterator[Worker]:
    """A worker for the function f that gives up a silent server after 0.3 s."""
    with Worker(scripted_server.address, WorkerSettings(reply_timeout_s=0.3), observer=observer) as worker:
        worker.register("f")
        yield worker
        scripted_server.close()  # else close() would wait a second for the server to read the last answers


class RunningWorker:
    """A worker whose `work` runs in a thread until the test ends."""

    def __init__(self, worker: Worker, done: Future[Any]) -> None:
        self.worker = worker
        self.done = done


@pytest.fixture
def start_worker(in_thread: Callable[..., Future[Any]]) -> Iterator[Callable[..., RunningWorker]]:
    """Starts workers: start_worker(servers, {function: callback}, settings=…, observer=…)."""
    running: list[RunningWorker] = []

    def start(servers: Any, callbacks: dict[str, Any], **options: Any) -> RunningWorker:
        worker = Worker(servers, options.pop("settings", WorkerSettings()), **options)
        for function, callback in callbacks.items():
            worker.register(function, callback)
        running.append(RunningWorker(worker, in_thread(worker.work)))
        return running[-1]

    yield start
    for each in running:
        each.worker.stop()
    for each in running:
        each.done.result(DEADLINE_S)
        each.worker.close()


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[[Callable[[], Any], str], Any]:
    """Polls a condition with a deadline: wait_for(condition, what)."""
    return wait_for
