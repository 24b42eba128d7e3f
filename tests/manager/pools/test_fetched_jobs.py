"""Jobs that a worker has not begun go back over the supervisor's own connection, to a server that this test plays."""

from __future__ import annotations

import os
import socket
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
def fetched() -> FetchedJobs:
    return FetchedJobs("here")


Begin = Callable[..., tuple[WorkersJobs, Claims]]


@pytest.fixture
def begin(fetched: FetchedJobs, server: Server) -> Iterator[Begin]:
    """Starts a worker of this server: both sides of its claims."""
    begun = []

    def begin(client_id: str = WORKER) -> tuple[WorkersJobs, Claims]:
        jobs = fetched.begin(client_id, (server.address,), prefetch=50)
        begun.append(client_id)
        return jobs, Claims(*jobs.pipe.for_worker)

    yield begin
    for client_id in begun:
        fetched.end(client_id)


def returned(jobs: WorkersJobs, set_number: int, *handles: bytes) -> Packet:
    return RETURN_JOBS, b"\0".join((b"%b-%d" % (jobs.key.encode(), set_number), *handles))


def test_what_is_not_begun_goes_back_with_the_key_of_its_set(server: Server, begin: Begin) -> None:
    jobs, claims = begin()
    assert server.hear(2) == GREETING
    claims.put(3, 0, [b"H:1", b"H:2", b"H:3"])
    assert claims.claim()
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 3, b"H:2", b"H:3")]
    jobs.give_back()  # nothing more
    claims.put(4, 0, [b"H:9"])
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 4, b"H:9")]


def test_they_go_back_when_the_server_says_that_they_are_wanted_elsewhere(server: Server, begin: Begin) -> None:
    jobs, claims = begin()
    _, others = begin("gm:here/mail/2")
    server.hear(2)
    claims.put(1, 0, [b"H:1"])
    others.put(1, 0, [b"H:2"])
    for name in (b"gm:here/gone/7", WORKER.encode()):
        server.connection.sendall(encode_response(JOBS_HELD, name, b"mail", b"1"))
    assert server.hear(1) == [returned(jobs, 1, b"H:1")]
    assert others.claim()


@pytest.mark.parametrize("ending", [b"", b"nonsense, which is no packet"])
def test_a_lost_connection_is_opened_again_and_nothing_is_forgotten(
    server: Server, begin: Begin, ending: bytes
) -> None:
    jobs, claims = begin()
    server.hear(2)
    server.connection.sendall(ending)
    server.connection.shutdown(1)
    claims.put(1, 0, [b"H:1"])
    jobs.give_back()
    heard = server.hear(4)
    assert [packet for packet in heard if packet not in (None, returned(jobs, 1, b"H:1"))] == GREETING
    assert returned(jobs, 1, b"H:1") in heard


def test_what_could_not_be_sent_is_sent_over_the_next_connection(server: Server, begin: Begin) -> None:
    jobs, claims = begin()
    server.hear(2)
    with socket.socket(fileno=os.dup(server.connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, Struct("ii").pack(1, 0))  # it ends with a reset
        same.shutdown(socket.SHUT_RD)
    assert server.hear(1) == [None]
    claims.put(1, 0, [b"H:1"])
    jobs.give_back()
    assert server.hear(3) == [*GREETING, returned(jobs, 1, b"H:1")]


def test_a_server_that_knows_nothing_of_it_is_left_alone(server: Server, begin: Begin) -> None:
    jobs, claims = begin()
    server.hear(2)
    server.connection.sendall(encode_response(PacketType.ERROR, b"UNKNOWN_OPTION", b"no"))
    claims.put(1, 0, [b"H:1"])
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 1, b"H:1")]  # over the same connection


def test_the_connection_is_there_as_long_as_a_worker_needs_it(fetched: FetchedJobs, server: Server) -> None:
    for number in (1, 2):
        fetched.begin(f"gm:here/mail/{number}", (server.address,), prefetch=2)
    assert server.hear(2) == GREETING
    fetched.end("gm:here/mail/1")
    fetched.end("gm:here/never/1")
    gevent.sleep(0)
    fetched.end("gm:here/mail/2")
    assert server.hear(1) == [None]


def test_a_record_of_a_server_that_does_not_exist_is_passed_over(server: Server, begin: Begin) -> None:
    jobs, claims = begin()
    server.hear(2)
    claims.put(1, 7, [b"H:1"])
    jobs.give_back()
    claims.put(2, 0, [b"H:2"])
    jobs.give_back()
    assert server.hear(1) == [returned(jobs, 2, b"H:2")]
