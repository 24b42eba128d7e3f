"""Thousands of connections on a real server: the memory of an idle one, and the cost of a job while thousands sleep."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Callable, Iterator

import psutil
import pytest

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

from ..server_process import ServerProcess

IDLE, SLEEPERS, JOBS = 10_000, 2_000, 20
MAX_BYTES_PER_CONNECTION = 10_000
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """Raises this process's limit of open files as far as possible, until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Crowd:
    """Workers of the function f on real sockets, all asleep at first, and a client."""

    def __init__(self, server: ServerProcess, count: int) -> None:
        self.noops = 0
        self.client = server.peer()
        self._epoll = select.epoll()
        self._epoll.register(self.client.socket.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._parsers: dict[int, PacketParser] = {}
        for _ in range(count):
            connected = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)
            connected.sendall(encode_request(PacketType.CAN_DO, b"f") + encode_request(PacketType.PRE_SLEEP))
            self._sockets[connected.fileno()] = connected
            self._parsers[connected.fileno()] = PacketParser(RESPONSE_MAGIC)
            self._epoll.register(connected.fileno(), select.EPOLLIN)

    def live(self, answer: Callable[[int, bytes], bytes], until_noops: int = 0) -> None:
        """Have `answer(packet_type, body)` answer every packet to a worker, until the client gets a packet,
        or until a number of NOOPs were counted."""
        while not until_noops or self.noops < until_noops:
            ready = dict(self._epoll.poll(DEADLINE_S))
            assert ready, "nobody was told anything"
            if ready.pop(self.client.socket.fileno(), None) is not None:
                return
            for descriptor in ready:
                for packet_type, body in self._parsers[descriptor].feed(self._sockets[descriptor].recv(65536)):
                    self.noops += packet_type == PacketType.NOOP
                    self._sockets[descriptor].sendall(answer(packet_type, body))

    def close(self) -> None:
        self._epoll.close()
        for connected in self._sockets.values():
            connected.close()


def work(packet_type: int, body: bytes) -> bytes:
    """The answers of a simple worker."""
    if packet_type == PacketType.NOOP:
        return encode_request(PacketType.GRAB_JOB)
    if packet_type == PacketType.NO_JOB:
        return encode_request(PacketType.PRE_SLEEP)
    handle = body.partition(b"\0")[0]
    return encode_request(PacketType.WORK_COMPLETE, handle, b"done") + encode_request(PacketType.GRAB_JOB)


@pytest.fixture
def crowd(server: ServerProcess, until: Callable[[Callable[[], bool]], None]) -> Iterator[Crowd]:
    crowd = Crowd(server, SLEEPERS)
    until(lambda: server.text(b"status") == b"f\t0\t0\t%d\n.\n" % SLEEPERS)
    yield crowd
    crowd.close()


def test_jobs_one_after_the_other_wake_few_of_2000_sleepers(crowd: Crowd) -> None:
    for _ in range(JOBS):
        assert crowd.client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"work")[0] == PacketType.JOB_CREATED
        crowd.live(work)
        assert crowd.client.receive()[0] == PacketType.WORK_COMPLETE
    assert crowd.noops < SLEEPERS  # gearmand sends 2,000 for each of the jobs


def test_a_job_that_no_worker_takes_wakes_all_2000_sleepers(crowd: Crowd) -> None:
    assert crowd.client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"work")[0] == PacketType.JOB_CREATED
    crowd.live(lambda _type, _body: b"", until_noops=SLEEPERS)
    assert crowd.noops == SLEEPERS


def test_an_idle_connection_takes_less_than_10_kb(server: ServerProcess) -> None:
    client, process = server.peer(), psutil.Process(server.pid)
    client.sync()
    before_bytes = process.memory_info().rss
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) for _ in range(IDLE)]
    try:
        idle[-1].sendall(encode_request(PacketType.ECHO_REQ, b"the last one is served"))
        assert idle[-1].recv(100)
        assert (process.memory_info().rss - before_bytes) / IDLE < MAX_BYTES_PER_CONNECTION
    finally:
        for connected in idle:
            connected.close()
