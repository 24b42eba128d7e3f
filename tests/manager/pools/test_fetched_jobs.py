"""Jobs that a worker has not begun go back over the supervisor's own connection, to a server that this test plays."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

import gevent.event
import gevent.queue
import gevent.server
import pytest

from gearman_client import Address
from gearman_client.extensions import HELD_JOBS_OPTION, JOBS_HELD, RETURN_JOBS
from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser, PacketType, encode_response
from gearman_manager.ipc.claims import Claims
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_manager.pools.fetched_jobs import FetchedJobs, WorkersJobs

DEADLINE_S = 10.0
WORKER = "gm:here/mail/1"
GREETING = [(int(PacketType.SET_CLIENT_ID), b"gm:here"), (int(PacketType.OPTION_REQ), HELD_JOBS_OPTION)]


class Server:
    """A job server that notes what it is sent."""

    def __init__(self) -> None:
        self._server = gevent.server.StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.address = Address("127.0.0.1", self._server.server_port)
        self._heard: gevent.queue.Queue[Packet | None] = gevent.queue.Queue()
        self.connection: Any = None

    def _serve(self, connection: Any, _address: object) -> None:
        self.connection = connection
        parser = PacketParser(REQUEST_MAGIC)
        while data := connection.recv(65536):
            for packet in parser.feed(data):
                self._heard.put(packet)
        self._heard.put(None)

    def hear(self, count: int) -> list[Packet | None]:
        """The next packets; None is the end of a connection."""
        return [self._heard.get(timeout=DEADLINE_S) for _ in range(count)]

    def close(self) -> None:
        self._server.stop(timeout=0)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard.create(1)


@pytest.fixture
def fetched(board: Scoreboard) -> FetchedJobs:
    return FetchedJobs("here", board)


class Worker:
    """A worker's side of its claims."""

    def __init__(self, claims: Claims, slot: SlotWriter) -> None:
        self._claims = claims
        self.slot = slot

    def fetch(self, number: int, server: int, *handles: bytes) -> None:
        """Get a set, and begin its first job, which is not among the handles."""
        self._claims.put(number, server, handles)
        self.begin(len(handles))

    def begin(self, held: int) -> int:
        return self.slot.begin(0, 0, b"H:0", time.monotonic_ns(), 0, held)


Begin = Callable[..., tuple[WorkersJobs, Worker]]


@pytest.fixture
def begin(fetched: FetchedJobs, server: Server, board: Scoreboard) -> Iterator[Begin]:
    """Starts a worker of this server: both sides of its claims."""
    begun: list[str] = []

    def begin(client_id: str = WORKER) -> tuple[WorkersJobs, Worker]:
        slot = len(begun)
        jobs = fetched.begin(client_id, slot, (server.address,), prefetch=50)
        begun.append(client_id)
        return jobs, Worker(Claims(*jobs.pipe.for_worker), SlotWriter(board, slot))

    yield begin
    for client_id in begun:
        fetched.end(client_id)


def returned(jobs: WorkersJobs, set_number: int, *handles: bytes) -> Packet:
    return RETURN_JOBS, b"\0".join((b"%b-%d" % (jobs.key.encode(), set_number), *handles))


def test_what_is_not_begun_goes_back_with_the_key_of_its_set(server: Server, begin: Begin) -> None:
    jobs, worker = begin()
    assert server.hear(2) == GREETING
    worker.fetch(3, 0, b"H:1", b"H:2", b"H:3")
    worker.begin(2)  # number 1
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 3, b"H:2", b"H:3")]
    jobs.give_back()  # nothing more
    worker.fetch(4, 0, b"H:9")
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 4, b"H:9")]


def test_they_go_back_when_the_server_says_that_they_are_wanted_elsewhere(server: Server, begin: Begin) -> None:
    jobs, worker = begin()
    _, other = begin("gm:here/mail/2")
    server.hear(2)
    worker.fetch(1, 0, b"H:1")
    other.fetch(1, 0, b"H:2")
    for name in (b"gm:here/gone/7", WORKER.encode()):
        server.connection.sendall(encode_response(JOBS_HELD, name, b"mail", b"1"))
    assert server.hear(1) == [returned(jobs, 1, b"H:1")]
    assert other.begin(0) == other.slot.calls == 0


@pytest.mark.parametrize("ending", [b"", b"nonsense, which is no packet"])
def test_a_lost_connection_is_opened_again_and_nothing_is_forgotten(
    server: Server, begin: Begin, ending: bytes
) -> None:
    jobs, worker = begin()
    server.hear(2)
    server.connection.sendall(ending)
    server.connection.shutdown(1)
    worker.fetch(1, 0, b"H:1")
    jobs.give_back()
    heard = server.hear(4)
    assert [packet for packet in heard if packet not in (None, returned(jobs, 1, b"H:1"))] == GREETING
    assert returned(jobs, 1, b"H:1") in heard


def test_what_could_not_be_sent_is_sent_over_the_next_connection(server: Server, begin: Begin) -> None:
    jobs, worker = begin()
    server.hear(2)
    with socket.socket(fileno=os.dup(server.connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, Struct("ii").pack(1, 0))  # it ends with a reset
        same.shutdown(socket.SHUT_RD)
    assert server.hear(1) == [None]
    worker.fetch(1, 0, b"H:1")
    jobs.give_back()
    assert server.hear(3) == [*GREETING, returned(jobs, 1, b"H:1")]


def test_a_server_that_knows_nothing_of_it_is_left_alone(server: Server, begin: Begin) -> None:
    jobs, worker = begin()
    server.hear(2)
    server.connection.sendall(encode_response(PacketType.ERROR, b"UNKNOWN_OPTION", b"no"))
    worker.fetch(1, 0, b"H:1")
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 1, b"H:1")]  # over the same connection


def test_the_connection_is_there_as_long_as_a_worker_needs_it(fetched: FetchedJobs, server: Server) -> None:
    for number in (1, 2):
        fetched.begin(f"gm:here/mail/{number}", number, (server.address,), prefetch=2)
    assert server.hear(2) == GREETING
    fetched.end("gm:here/mail/1")
    fetched.end("gm:here/never/1")
    gevent.sleep(0)
    fetched.end("gm:here/mail/2")
    assert server.hear(1) == [None]


def test_a_record_of_a_server_that_does_not_exist_is_passed_over(server: Server, begin: Begin) -> None:
    jobs, worker = begin()
    server.hear(2)
    worker.fetch(1, 7, b"H:1")
    jobs.give_back()
    worker.fetch(2, 0, b"H:2")
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 2, b"H:2")]


def test_the_report_of_what_it_holds_does_not_count_what_was_taken(
    server: Server, begin: Begin, board: Scoreboard
) -> None:
    jobs, worker = begin()
    worker.fetch(1, 0, *[b"H:%d" % number for number in range(9)])
    worker.begin(8)
    assert jobs.count(board.read(0)) == 8
    jobs.give_back()
    assert jobs.count(board.read(0)) == 0
    worker.slot.idle()
    worker.fetch(2, 0, b"H:7")
    assert jobs.count(board.read(0)) == 1
    worker.begin(65535)  # a job can write anything into its worker's slot
    assert jobs.count(board.read(0)) == 50
