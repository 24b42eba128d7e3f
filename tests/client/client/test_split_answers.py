"""A server that splits, joins and delays its answers as it likes, which TCP allows: no call notices."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearman_client import Address, Client
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_response

T = PacketType
HANDLE = b"H:x:1"
#: The sizes of pieces, and the milliseconds before each.
PIECES = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0, 0, 0, 1])), min_size=1, max_size=20)


def answer_to(kind: int, body: bytes) -> bytes:
    if kind == T.OPTION_REQ:
        return encode_response(T.OPTION_RES, body)
    if kind == T.ECHO_REQ:
        return encode_response(T.ECHO_RES, body)
    if kind == T.GET_STATUS:
        return encode_response(T.STATUS_RES, body, b"1", b"1", b"3", b"10")
    created = encode_response(T.JOB_CREATED, HANDLE)
    if kind == T.SUBMIT_JOB_BG:
        return created
    reports = [encode_response(T.WORK_STATUS, HANDLE, b"%d" % number, b"3") for number in range(3)]
    data = encode_response(T.WORK_DATA, HANDLE, b"\0RES\0\0\0\x0d")  # looks like the start of a packet
    return b"".join([created, *reports, data, encode_response(T.WORK_COMPLETE, HANDLE, body.rpartition(b"\0")[2])])


class UnevenServer:
    """Answers every request right, in the pieces of `pieces`."""

    def __init__(self) -> None:
        self.pieces: Sequence[tuple[int, int]] = [(1, 0)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        parser = PacketParser(REQUEST_MAGIC)
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(65536):
                self._send(sock, b"".join(answer_to(*packet) for packet in parser.feed(data)))

    def _send(self, sock: socket.socket, answer: bytes) -> None:
        at = 0
        while at < len(answer):
            for size, delay_ms in self.pieces:
                time.sleep(delay_ms / 1000)
                if answer[at : at + size]:
                    sock.sendall(answer[at : at + size])
                at += size

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def uneven() -> Iterator[UnevenServer]:
    server = UnevenServer()
    yield server
    server.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, workload=st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"0")))
def test_no_call_notices_how_its_answer_arrives(
    uneven: UnevenServer, pieces: Sequence[tuple[int, int]], workload: bytes
) -> None:
    uneven.pieces = pieces
    with Client(uneven.address, timeout_s=60) as client:
        progress: list[int] = []
        data: list[bytes] = []
        for _ in range(2):
            result = client.submit(
                "f", workload, on_status=lambda done, _of: progress.append(done), on_data=data.append
            )
            assert result == workload
            assert client.status(client.submit_background("f", workload)).numerator == 3
        assert progress == [0, 1, 2] * 2
        assert data == [b"\0RES\0\0\0\x0d"] * 2
        assert list(client.submit_background_many("f", [workload] * 20)) == [HANDLE.decode()] * 20
        assert client.echo(workload) == workload
