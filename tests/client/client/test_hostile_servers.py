"""Job servers that misbehave: every call ends in its time with an error of the library, whatever the bytes are."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gearman_client import Address, Client, GearmanError
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_response

from ..conftest import without_discovery

T = PacketType
TIMEOUT_S = 0.2
#: What a busy machine may add to a call's time.
PATIENCE_S = 20.0

OPTION = encode_response(T.OPTION_RES, b"exceptions")
CREATED = encode_response(T.JOB_CREATED, b"H:x:1")
ERROR = encode_response(T.ERROR, b"QUEUE_ERROR", b"no")
ANSWERS: dict[int, bytes] = {
    T.OPTION_REQ: OPTION,
    T.ECHO_REQ: encode_response(T.ECHO_RES, b"ping"),
    T.GET_STATUS: encode_response(T.STATUS_RES, b"H:x:1", b"1", b"1", b"0", b"0"),
    T.SUBMIT_JOB: CREATED + encode_response(T.WORK_COMPLETE, b"H:x:1", b"done"),
    T.SUBMIT_JOB_BG: CREATED,
}
Send = Callable[[bytes], None]
Behaviour = Callable[[int, Send], None]


def stall(_kind: int, _send: Send) -> None:
    """Accept, and never answer."""


def stall_after_greeting(kind: int, send: Send) -> None:
    if kind == T.OPTION_REQ:
        send(OPTION)


def close_in_the_middle(kind: int, send: Send) -> None:
    send(ANSWERS.get(kind, ERROR)[:-3])
    raise ConnectionAbortedError


def close_after_greeting(kind: int, send: Send) -> None:
    if kind != T.OPTION_REQ:
        raise ConnectionAbortedError
    send(OPTION)


def send_garbage(_kind: int, send: Send) -> None:
    send(os.urandom(4096))


def send_garbage_after_greeting(kind: int, send: Send) -> None:
    send(OPTION if kind == T.OPTION_REQ else b"HTTP/1.1 400 Bad Request\r\n\r\n")


def refuse_everything(_kind: int, send: Send) -> None:
    send(ERROR)


def answer_a_byte_a_second(kind: int, send: Send) -> None:
    for byte in ANSWERS.get(kind, ERROR):
        send(bytes([byte]))
        time.sleep(1)


def answer_to_something_else(kind: int, send: Send) -> None:
    send(OPTION if kind == T.OPTION_REQ else encode_response(T.STATUS_RES, b"H:x:1", b"1", b"1"))


def announce_four_gigabytes(_kind: int, send: Send) -> None:
    send(b"\0RES\0\0\0\x08\xff\xff\xff\xff")


def never_stop_reporting(kind: int, send: Send) -> None:
    send(OPTION if kind == T.OPTION_REQ else CREATED)
    while kind != T.OPTION_REQ:
        send(encode_response(T.WORK_STATUS, b"H:x:1", b"1", b"2"))
        time.sleep(0.001)


BEHAVIOURS = [
    stall,
    stall_after_greeting,
    close_in_the_middle,
    close_after_greeting,
    send_garbage,
    send_garbage_after_greeting,
    refuse_everything,
    answer_a_byte_a_second,
    answer_to_something_else,
    announce_four_gigabytes,
    never_stop_reporting,
]

#: Those that answer nothing that a job server would.
NO_SERVERS = [behave for behave in BEHAVIOURS if behave not in (refuse_everything, never_stop_reporting)]

CALLS: dict[str, Callable[[Client], object]] = {
    "submit": lambda client: client.submit("f", b"w"),
    "submit_background": lambda client: client.submit_background("f", b"w"),
    "submit_background_many": lambda client: client.submit_background_many("f", [b"w"] * 300),
    "status": lambda client: client.status("H:x:1"),
    "status_unique": lambda client: client.status_unique("u"),
    "result": lambda client: client.result("H:x:1"),
    "echo": lambda client: client.echo(b"other"),
}


class HostileServer:
    """Reads every request, and answers as `behave` wants."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        parser = PacketParser(REQUEST_MAGIC)
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(65536):
                for kind, _ in without_discovery(parser.feed(data)):
                    self._behave(kind, sock.sendall)

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def start_hostile() -> Iterator[Callable[[Behaviour], Address]]:
    """Starts any number of servers that behave so."""
    with contextlib.ExitStack() as stack:

        def start(behave: Behaviour) -> Address:
            server = HostileServer(behave)
            stack.callback(server.close)
            return server.address

        yield start


@pytest.mark.parametrize("behave", BEHAVIOURS, ids=lambda behave: behave.__name__)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_ends_in_its_time_with_an_error_of_the_library(
    start_hostile: Callable[[Behaviour], Address], behave: Behaviour, call: str
) -> None:
    acknowledges = behave is never_stop_reporting and call == "submit_background"
    with Client(start_hostile(behave), timeout_s=TIMEOUT_S, connect_timeout_s=0.15) as client:
        for _ in range(1 if acknowledges else 2):  # the second one finds what the first one has left
            begun = time.monotonic()
            with contextlib.nullcontext() if acknowledges else pytest.raises(GearmanError):
                CALLS[call](client)
            assert time.monotonic() - begun < TIMEOUT_S + PATIENCE_S


@pytest.mark.parametrize("behave", NO_SERVERS, ids=lambda behave: behave.__name__)
def test_a_server_that_is_none_is_left_for_another_one(
    start_hostile: Callable[[Behaviour], Address], behave: Behaviour
) -> None:
    servers = [start_hostile(behave), start_hostile(lambda kind, send: send(ANSWERS.get(kind, ERROR)))]
    with Client(servers, timeout_s=PATIENCE_S, connect_timeout_s=0.15, reply_timeout_s=0.15) as client:
        for _ in range(2):
            assert client.submit("f", b"w") == b"done"
            assert client.status("H:x:1").known
