"""Following job servers over real sockets: a scripted server pushes, answers, hangs up, falls silent, comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import gevent.event
import pytest

from gearman_client import Address, Tls
from gearman_client.extensions import QUEUE_CHANGED, QUEUE_EVENTS_OPTION
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_response
from gearman_manager.scaling.queue_dialogue import ANSWER_TIMEOUT_S, IDLE_INTERVAL_S, FunctionQueue
from gearman_manager.scaling.queues import LOSSES, Queues

DEADLINE_S = 20.0
OPTION_RES = encode_response(PacketType.OPTION_RES, QUEUE_EVENTS_OPTION)
UNKNOWN_OPTION = encode_response(PacketType.ERROR, b"UNKNOWN_OPTION", b"unknown")


def changed(function: bytes, *counts: int) -> bytes:
    waiting = counts[:1] if len(counts) == 3 else ()  # without a fourth count, all waiting jobs can be started
    return encode_response(QUEUE_CHANGED, function, *(b"%d" % count for count in (*counts, *waiting)))


class ScriptedServer:
    """A job server whose answers the test chooses; every connection has its thread."""

    def __init__(self) -> None:
        self.option: bytes | None = OPTION_RES  # the answer to OPTION_REQ; b"" is silence, None hangs up
        self.answers = {b"status": b"mail\t1\t0\t1\n.\n", b"workers": b"30 127.0.0.1 gm:m :\n.\n"}
        self.is_silent = False
        self.asked: list[bytes] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def push(self, data: bytes) -> None:
        """Send data that no request asked for."""
        self._connections[-1].sendall(data)

    def hang_up(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the server and its connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                for packet_type, body in parser.feed(data):
                    answer = self._answer(packet_type, body)
                    if answer is None:
                        return
                    connection.sendall(answer)

    def _answer(self, packet_type: int, body: bytes) -> bytes | None:
        if packet_type == PacketType.OPTION_REQ:
            self.asked.append(body)
            return self.option
        if packet_type != PacketType.TEXT_LINE:
            return b""
        self.asked.append(body)
        return b"" if self.is_silent else self.answers[body]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


class Following:
    """The queues, and the event of their changes."""

    def __init__(self, *addresses: Address) -> None:
        self.told = gevent.event.Event()
        self.tellings = 0
        self.queues = Queues("gm:m", self._tell)
        self.queues.follow(addresses)

    def _tell(self) -> None:
        self.tellings += 1
        self.told.set()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds; it is checked at every reported change."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            self.told.clear()
            if not self.told.wait(deadline - time.monotonic()):
                pytest.fail(f"not within {DEADLINE_S} s: {what}")


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def start(*addresses: Address) -> Following:
        started.append(Following(*addresses))
        return started[-1]

    yield start
    for following in started:
        following.queues.close()


def test_a_pushed_change_is_reported_at_once(server: ScriptedServer, follow: Callable[..., Following]) -> None:
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    assert following.queues.servers[0].is_pushed
    assert following.queues.of("mail") == FunctionQueue(queued=1, running=0, workers=1, waiting=1)
    pushed_at = time.monotonic()
    server.push(changed(b"mail", 7, 1, 1))
    following.until(lambda: following.queues.of("mail").queued == 7, "the change")
    # Polling alone would have taken a second, and this server is asked for its status every ten.
    assert time.monotonic() - pushed_at < 0.9 * IDLE_INTERVAL_S


def test_changes_in_quick_succession_are_reported_together(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    before = following.tellings
    started = time.monotonic()
    for count in range(2, 500):
        server.push(changed(b"mail", count, 1, 1))
    following.until(lambda: following.queues.of("mail").queued == 499, "the last change")
    elapsed_s = time.monotonic() - started
    assert following.tellings - before <= 2 + elapsed_s / 0.05


def test_a_server_that_does_not_know_events_is_asked(server: ScriptedServer, follow: Callable[..., Following]) -> None:
    server.option = UNKNOWN_OPTION
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    assert not following.queues.servers[0].is_pushed
    server.answers[b"status"] = b"mail\t9\t2\t3\n.\n"
    following.until(lambda: following.queues.of("mail") == FunctionQueue(7, 2, 3, 7, doubtful=7), "the change")


@pytest.mark.parametrize("answer", [None, b""])
def test_a_server_that_ignores_the_option_or_hangs_up_on_it_is_polled_without_it(
    server: ScriptedServer, follow: Callable[..., Following], answer: bytes | None
) -> None:
    server.option = answer
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    assert server.asked.count(QUEUE_EVENTS_OPTION) == LOSSES
    # After a connection without the option the next one offers it again: a newer server may have taken the place.
    server.option = OPTION_RES
    server.hang_up()
    following.until(lambda: following.queues.servers[0].is_pushed, "the next connection is told of changes")


def test_a_server_that_has_pushed_is_offered_it_again_whatever_became_of_some_connections(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    following = follow(server.address)
    following.until(lambda: following.queues.servers[0].is_pushed, "the server tells of its changes")
    before = server.asked.count(QUEUE_EVENTS_OPTION)
    server.option = None  # as when it is killed just now, and its ports still accept
    server.hang_up()
    following.until(lambda: bool(following.queues.away), "it is away")
    while server.asked.count(QUEUE_EVENTS_OPTION) < before + LOSSES + 1:
        gevent.sleep(0.005)
    server.option = OPTION_RES
    following.until(lambda: not following.queues.away, "it is back")
    assert following.queues.servers[0].is_pushed


def test_a_silent_server_counts_as_down_and_the_others_go_on(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    other = ScriptedServer()
    try:
        following = follow(server.address, other.address)
        following.until(lambda: not following.queues.away, "both answer")
        assert following.queues.of("mail") == FunctionQueue(queued=2, running=0, workers=1, waiting=2)
        silent_at = time.monotonic()
        server.is_silent = True
        following.until(lambda: bool(following.queues.away), "the silent one counts as down")
        assert time.monotonic() - silent_at < ANSWER_TIMEOUT_S + 3 * IDLE_INTERVAL_S
        assert [watch.is_up for watch in following.queues.servers] == [False, True]
        assert following.queues.of("mail") == FunctionQueue(queued=1, running=0, workers=1, waiting=1)
        other.push(changed(b"mail", 5, 1, 1))
        following.until(lambda: following.queues.of("mail").queued == 5, "the other one's change")
        server.is_silent = False
        following.until(lambda: not following.queues.away, "both answer again")
    finally:
        other.close()


def test_a_missing_server_is_down_until_it_listens(follow: Callable[..., Following]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    following = follow(Address("127.0.0.1", port))
    (watch,) = following.queues.servers
    following.until(lambda: watch.since > 0, "it was tried")
    assert following.queues.away
    assert following.queues.of("mail") == FunctionQueue()


def test_nonsense_from_a_server_ends_only_its_connection(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    server.push(b"\0RES\0\0\0\x63\0\0\0\0")
    following.until(lambda: bool(following.queues.away), "the connection ended")
    following.until(lambda: not following.queues.away, "the next one is as good as new")


def test_a_server_that_stays_keeps_its_connection_and_what_it_told_of_its_queues(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    other = ScriptedServer()
    try:
        following = follow(server.address, other.address)
        following.until(lambda: not following.queues.away, "both answer")
        kept, left = following.queues.servers
        following.queues.follow([Address(server.address.host, server.address.port)])
        assert following.queues.servers == [kept]
        assert not following.queues.away
        assert following.queues.of("mail").queued == 1
        following.until(lambda: bool(left._greenlet.dead), "the other one is followed no longer")
        server.push(changed(b"mail", 5, 1, 1))
        following.until(lambda: following.queues.of("mail").queued == 5, "the next change")
        assert server.asked.count(QUEUE_EVENTS_OPTION) == 1
    finally:
        other.close()


def test_a_server_with_another_certificate_is_another_one(
    server: ScriptedServer, follow: Callable[..., Following]
) -> None:
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    following.queues.follow([Address(server.address.host, server.address.port, Tls())])
    assert following.queues.away


def test_close_ends_the_polling(server: ScriptedServer, follow: Callable[..., Following]) -> None:
    following = follow(server.address)
    following.until(lambda: not following.queues.away, "the server answers")
    following.queues.close()
    assert all(watch._greenlet.dead for watch in following.queues.servers)
