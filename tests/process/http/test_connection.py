"""One HTTP connection over a real socket: requests however their bytes arrive, and answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gearman_process.http.bounds import UNDISTURBED_S, BodyMemory, BodyShare, HttpBounds
from gearman_process.http.connection import HttpConnection
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest, text_answer
from gearman_process.http.serving import serve

BOUNDS = HttpBounds(idle_s=5, head_s=0.3, pace_s=0.3, linger_s=0.3)
REQUEST = b"POST /a%2Fb?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


def echo(request: HttpRequest) -> HttpAnswer:
    """Answers with the path and the body."""
    body = b""
    while data := request.body.read():
        body += data
    if request.path == b"/pieces":
        return HttpAnswer(200, (), iter([b"one ", b"", b"two"]))
    return text_answer(200, request.path + b" " + body)


def refused(refusal: HttpRefusal) -> HttpAnswer:
    return refusal.answer


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """A socket whose other end serves `echo` until it is closed."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    connection = HttpConnection(theirs, BOUNDS, BodyMemory(1 << 20), lambda: None)
    server = threading.Thread(target=serve, args=(connection, echo, refused))
    server.start()
    yield ours
    ours.close()
    server.join(10)


def answers(peer: socket.socket) -> bytes:
    data = b""
    while piece := peer.recv(65536):
        data += piece
    return data


def test_pipelined_requests_are_answered_in_turn_however_their_bytes_arrive(peer: socket.socket) -> None:
    for byte in REQUEST * 2:
        peer.sendall(bytes([byte]))
    peer.sendall(b"\r\n" + REQUEST * 3)
    peer.shutdown(socket.SHUT_WR)
    assert answers(peer).count(b"\r\n\r\n/a/b hello") == 5


def test_a_body_that_nobody_read_ends_the_connection(peer: socket.socket) -> None:
    peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n" + REQUEST)
    assert answers(peer).count(b"HTTP/1.1 ") == 1


def test_an_answer_in_pieces_is_chunked_or_ends_with_the_connection(peer: socket.socket) -> None:
    peer.sendall(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\nHEAD /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
    peer.sendall(b"GET /pieces HTTP/1.0\r\n\r\n")
    first, head, last = answers(peer).split(b"HTTP/1.")[1:]
    assert first.endswith(b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert last.startswith(b"0 200 OK\r\n")
    assert last.endswith(b"\r\n\r\none two")


def test_a_client_that_waits_for_100_is_told_to_go_on(peer: socket.socket) -> None:
    head, _, body = REQUEST.partition(b"\r\n\r\n")
    peer.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert peer.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.sendall(body)
    peer.shutdown(socket.SHUT_WR)
    assert answers(peer).endswith(b"/a/b hello")


@pytest.mark.parametrize("start", [REQUEST[:10], REQUEST[:-1]], ids=["headers", "body"])
def test_a_request_that_stops_is_408(peer: socket.socket, start: bytes) -> None:
    peer.sendall(start)
    assert answers(peer).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_line_ends_alone_do_not_put_off_the_end() -> None:
    ours, theirs = socket.socketpair()
    bounds = HttpBounds(idle_s=0.5)
    server = threading.Thread(
        target=serve, args=(HttpConnection(theirs, bounds, BodyMemory(0), lambda: None), echo, refused)
    )
    server.start()
    ours.settimeout(0.05)
    for _ in range(100):
        try:
            ours.sendall(b"\r\n")
            if ours.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        pytest.fail("the connection is still open")
    ours.close()
    server.join(10)


def test_a_body_in_the_way_of_others_is_ended() -> None:
    memory, has_memory = BodyMemory(0), threading.Event()
    slow, theirs = socket.socketpair()
    slow.settimeout(10)
    connection = HttpConnection(theirs, HttpBounds(), memory, lambda: None)

    def read(request: HttpRequest) -> HttpAnswer:
        size_bytes = 0
        while data := request.body.read():
            size_bytes += len(data)
            if size_bytes == 100_000:
                has_memory.set()
        return text_answer(200)

    def serve_until_lost() -> None:
        with contextlib.suppress(OSError):
            serve(connection, read, refused)

    server = threading.Thread(target=serve_until_lost)
    server.start()
    slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
    assert has_memory.wait(10)
    BodyShare(memory, lambda: None).grow(1_000_000, time.monotonic() + UNDISTURBED_S)
    assert slow.recv(1) == b""
    slow.close()
    server.join(10)
