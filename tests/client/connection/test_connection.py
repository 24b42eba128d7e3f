"""One connection whose peer is slow, stops, breaks off or sends nonsense; and how a connection is made."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from gearman_client import Address, Client, ConnectionLost, CouldNotConnect, Timeout
from gearman_client.connection.connecting import ConnectAttempt, connect
from gearman_client.connection.connection import Connection
from gearman_client.extensions import SERVERS
from gearman_client.packet import PacketType, encode_request, encode_response

BIG = 8 * 1024 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    connection = Connection(ours, Address("box"), stall_s=0.2)
    yield connection, theirs
    connection.close()
    theirs.close()


def test_the_end_is_seen_behind_what_a_server_tells_of_its_cluster(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    told: list[bytes] = []
    connection.on_servers = told.append
    peer.sendall(encode_response(SERVERS, b"one"))
    assert connection.is_quiet()
    peer.sendall(encode_response(SERVERS, b"two"))
    peer.close()
    with pytest.raises(ConnectionLost):
        connection.is_quiet()
    assert told == [b"one", b"two"]


def test_two_peers_that_write_before_they_read_do_not_block_each_other(
    pair: tuple[Connection, socket.socket], in_thread: Callable[..., Any]
) -> None:
    connection, peer = pair
    theirs = encode_response(PacketType.ECHO_RES, b"t" * BIG)
    ours = encode_request(PacketType.ECHO_REQ, b"o" * BIG)

    def write_then_read() -> int:
        peer.settimeout(None)
        peer.sendall(theirs)
        received = 0
        while received < len(ours):
            received += len(peer.recv(1024 * 1024))
        return received

    other_side = in_thread(write_then_read)
    connection.queue(ours)
    connection.flush()
    assert other_side.result(10) == len(ours)
    packets: list[tuple[int, bytes]] = []
    while not packets:
        packets = connection.receive()
    assert packets == [(PacketType.ECHO_RES, b"t" * BIG)]


def test_a_peer_that_reads_nothing_is_given_up_after_the_stall_time(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    connection.queue(bytes(BIG))
    started = monotonic()
    with pytest.raises(ConnectionLost, match="took no data"):
        connection.flush()
    assert 0.2 <= monotonic() - started < 5


def test_bytes_that_a_full_socket_does_not_take_are_sent_later_in_order(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    connection.queue(b"a" * BIG)
    assert not connection.try_flush()
    connection.queue(b"b" * 10)
    assert connection.unsent_bytes > 10
    received = bytearray()
    while len(received) < BIG + 10:
        connection.try_flush()
        received += peer.recv(1024 * 1024)
    assert received == b"a" * BIG + b"b" * 10
    assert connection.unsent_bytes == 0


def test_a_silent_peer_is_a_timeout_and_no_lost_connection(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    with pytest.raises(Timeout, match="box:4730 sent nothing"):
        connection.receive()
    peer.sendall(encode_response(PacketType.NOOP))
    assert connection.receive() == [(PacketType.NOOP, b"")]


def test_a_connection_cut_in_the_middle_of_a_packet_is_lost(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    peer.sendall(encode_response(PacketType.JOB_ASSIGN, b"H:1", b"f", b"xyz")[:-2])
    peer.close()
    assert connection.receive() == []
    with pytest.raises(ConnectionLost, match="closed by the job server"):
        connection.receive()


def test_packets_before_garbage_are_delivered_and_then_the_connection_is_lost(
    pair: tuple[Connection, socket.socket],
) -> None:
    connection, peer = pair
    peer.sendall(encode_response(PacketType.NOOP) + b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert connection.receive() == [(PacketType.NOOP, b"")]
    with pytest.raises(ConnectionLost, match="magic"):
        connection.receive()


def test_a_closed_connection_raises_instead_of_waiting(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    connection.close()
    with pytest.raises(ConnectionLost, match="already closed"):
        connection.wait_readable(1)


def test_the_error_for_a_refused_connection_names_the_address_and_the_remedy() -> None:
    with socket.socket() as bound:  # bound and not listening: no other program can answer there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(CouldNotConnect, match=rf"127\.0\.0\.1:{port}.*refused.*check that a job server runs there"):
            connect(Address("127.0.0.1", port), 1)


def test_an_unknown_host_name_is_reported_as_such() -> None:
    with pytest.raises(CouldNotConnect, match=r"no\.such\.host\.invalid:4730.*can't be resolved"):
        connect(Address("no.such.host.invalid"), 1)


def test_every_address_of_a_host_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # not on ::1, which localhost may name first
        sock = connect(Address("localhost", listener.getsockname()[1]), 5)
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == listener.getsockname()
        sock.close()


def reset(connected: socket.socket) -> None:
    """Have the other side find the connection reset."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.close()


def test_a_connection_that_is_reset_right_after_it_was_made_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        address = Address(*listener.getsockname())

        class ResetOnceConnected(socket.socket):
            def getsockopt(self, *arguments: int) -> Any:
                answer = super().getsockopt(*arguments)
                if arguments == (socket.SOL_SOCKET, socket.SO_ERROR) and not resets:
                    resets.append(answer)
                    reset(listener.accept()[0])
                return answer

        resets: list[int] = []
        monkeypatch.setattr(socket, "socket", ResetOnceConnected)
        with pytest.raises(CouldNotConnect, match="reset by peer; check that a job server runs there"):
            connect(address, 5)
        assert resets == [0]  # it was connected


def test_a_connection_that_is_reset_before_it_is_used_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
        sock = connect(address, 5)
        reset(listener.accept()[0])
    connection = Connection(sock, address)
    with pytest.raises(ConnectionLost, match="reset by peer"):
        connection.receive()
    connection.close()


def test_a_socket_that_takes_no_options_any_more_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead(socket.socket):
        """As a socket is on BSD and macOS once it was reset; Linux takes options until it is closed."""

        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            if (level, option) == (socket.IPPROTO_TCP, socket.TCP_NODELAY):
                raise OSError(errno.EINVAL, "Invalid argument")
            super().setsockopt(level, option, *value)

    with socket.create_server(("127.0.0.1", 0)) as listener, Client(Address(*listener.getsockname())) as client:
        monkeypatch.setattr(socket, "socket", Dead)
        with pytest.raises(CouldNotConnect, match="Invalid argument; check host and port"):
            client.echo()


def test_a_connection_attempt_without_an_answer_ends_at_its_deadline() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = Address(*listener.getsockname())
        waiting = [ConnectAttempt(address, 5, monotonic()) for _ in range(4)]  # fill the backlog
        attempt = ConnectAttempt(address, 5.0, now=100.0)
        assert attempt.deadline == 105.0
        assert attempt.advance(104.9) is None
        with pytest.raises(CouldNotConnect, match="no answer"):
            attempt.advance(105.0)
        for each in waiting:
            each.close()


def test_an_ascii_host_is_looked_up_without_the_codec_for_international_names() -> None:
    program = (
        "import sys\n"
        "from gearman_client import Client, CouldNotConnect\n"
        "for host in ('127.0.0.1', 'localhost', '[::1]'):\n"
        "    try: Client(f'{host}:1').echo()\n"
        "    except CouldNotConnect: pass\n"
        "sys.exit('encodings.idna' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0
