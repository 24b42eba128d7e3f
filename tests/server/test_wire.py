"""Wire transcripts against a real server process."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

import psutil
import pytest

from gearman_client.packet import PacketType, encode_request

from .server_process import ServerProcess

CREATED = PacketType.JOB_CREATED


def test_the_byte_example_of_the_reference(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--job-handle-prefix", "H:box")
    worker, client = server.peer(), server.peer()
    worker.socket.sendall(bytes.fromhex("00524551 00000001 00000007") + b"reverse")
    worker.socket.sendall(bytes.fromhex("00524551 00000004 00000000"))
    worker.sync()
    client.socket.sendall(bytes.fromhex("00524551 00000007 0000000f") + b"reverse\0u1\0test")
    packet_type, handle = client.receive()
    assert packet_type == CREATED
    assert handle.startswith(b"H:box:")
    assert worker.receive() == (PacketType.NOOP, b"")
    worker.socket.sendall(bytes.fromhex("00524551 0000001e 00000000"))
    assert worker.receive() == (PacketType.JOB_ASSIGN_UNIQ, handle + b"\0reverse\0u1\0test")
    worker.send(PacketType.WORK_COMPLETE, handle, b"tset")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0tset")


def test_text_and_packets_mix_on_one_connection_and_are_answered_in_order(server: ServerProcess) -> None:
    peer = server.peer()
    peer.socket.sendall(b"getpid\n" + encode_request(PacketType.ECHO_REQ, b"x") + b"getpid\r\n")
    peer.socket.shutdown(socket.SHUT_WR)
    line = b"OK %d\n" % server.pid
    assert peer.read_to_end() == line + b"\0RES\0\0\0\x11\0\0\0\x01x" + line


def test_requests_arriving_byte_by_byte_are_carried_out(server: ServerProcess) -> None:
    peer = server.peer()
    for byte in encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"work") + b"status\n":
        peer.socket.sendall(bytes([byte]))
    peer.socket.shutdown(socket.SHUT_WR)
    answer = peer.read_to_end()
    assert answer.startswith(b"\0RES\0\0\0\x08")
    assert answer.endswith(b"f\t1\t0\t0\n.\n")


def test_a_thousand_pipelined_submissions_are_answered_in_their_order(server: ServerProcess) -> None:
    peer = server.peer()
    request = encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    peer.socket.sendall(request * 1000)
    numbers = [int(peer.receive()[1].rpartition(b":")[2]) for _ in range(1000)]
    assert numbers == list(range(numbers[0], numbers[0] + 1000))


def test_a_result_of_many_megabytes_arrives_whole(server: ServerProcess) -> None:
    result = os.urandom(1 << 20) * 24
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, handle, result)
    packet_type, body = client.receive()
    assert packet_type == PacketType.WORK_COMPLETE
    assert body == handle + b"\0" + result


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0XYZ" + b"\0" * 8,
        b"\0REQ" + struct.pack(">II", 43, 0),
        b"\0REQ" + struct.pack(">II", 2**31, 0),
        b"\0REQ" + struct.pack(">II", 0, 0),
        b"\0RES" + struct.pack(">II", 2**32 - 1, 0),
        encode_request(PacketType.SUBMIT_JOB, b"only a function"),
        encode_request(PacketType.CAN_DO_TIMEOUT, b"no timeout"),
        b"\0REQ" + struct.pack(">II", PacketType.ECHO_REQ, 2**32 - 1),
        b"x" * 9000,
        b"one two three four five six\n",
    ],
    ids=lambda garbage: repr(garbage[:24]),
)
def test_garbage_costs_its_own_connection_and_no_other(server: ServerProcess, garbage: bytes) -> None:
    client, worker, villain = server.peer(), server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    villain.socket.sendall(garbage)
    answer = villain.read_to_end()
    assert answer == b"" or answer.startswith(b"\0RES\0\0\0\x13")
    assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")


def test_random_bytes_never_harm_the_server(server: ServerProcess) -> None:
    client = server.peer()
    for size in (1, 3, 11, 12, 13, 100, 5000, 70000):
        for start in (b"", b"\0REQ", b"\0RES\0\0\0\x07"):
            villain = server.peer()
            villain.socket.sendall(start + os.urandom(size))
            villain.close()
    client.sync()


def test_a_packet_above_the_limit_is_refused_when_it_is_announced(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--max-packet-size", "1000")
    peer = server.peer()
    assert peer.ask(PacketType.ECHO_REQ, b"x" * 1000) == (PacketType.ECHO_RES, b"x" * 1000)
    peer.socket.sendall(b"\0REQ" + struct.pack(">II", PacketType.ECHO_REQ, 1001))
    packet_type, body = peer.receive()
    assert packet_type == PacketType.ERROR
    assert b"1001 bytes, the limit is 1000" in body
    assert peer.read_to_end() == b""


def test_an_error_reaches_a_peer_that_goes_on_sending(start_server: Callable[..., ServerProcess]) -> None:
    peer = start_server("--max-packet-size", "1000").peer()
    peer.socket.sendall(b"\0REQ" + struct.pack(">II", PacketType.ECHO_REQ, 100_000) + b"x" * 100_000)
    assert peer.receive()[0] == PacketType.ERROR


def test_a_peer_that_never_reads_is_dropped_with_a_log_line_and_others_are_served(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--max-backlog-per-connection", "1000000", "-v")
    lazy, other = server.peer(), server.peer()
    request = encode_request(PacketType.ECHO_REQ, b"x" * 50_000)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        lazy.socket.sendall(request * 2_000)
    assert " WARNING " in server.wait_for_log("dropped")
    other.sync()


def test_a_worker_killed_under_its_job_is_replaced_by_another(server: ServerProcess) -> None:
    client, lost, other = server.peer(), server.peer(), server.peer()
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    for worker in (lost, other):
        worker.send(PacketType.CAN_DO, b"f")
    assert lost.ask(PacketType.GRAB_JOB)[1].startswith(handle)
    assert other.ask(PacketType.GRAB_JOB) == (PacketType.NO_JOB, b"")
    other.send(PacketType.PRE_SLEEP)
    other.sync()
    lost.close()
    assert other.receive() == (PacketType.NOOP, b"")
    assert other.ask(PacketType.GRAB_JOB)[1].startswith(handle)


def test_a_job_timeout_needs_no_other_traffic(server: ServerProcess) -> None:
    client, late, other = server.peer(), server.peer(), server.peer()
    late.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    late.ask(PacketType.GRAB_JOB)
    other.send(PacketType.CAN_DO, b"f")
    other.send(PacketType.PRE_SLEEP)
    assert other.receive() == (PacketType.NOOP, b"")
    late.send(PacketType.WORK_COMPLETE, handle, b"late")
    assert late.receive()[0] == PacketType.ERROR


def test_connections_wait_when_descriptors_run_out_and_are_served_when_some_are_free(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("-f", "24")
    peers = [server.peer() for _ in range(40)]
    server.wait_for_log("no more connections can be accepted")
    peers[0].sync()
    for peer in peers[:25]:
        peer.close()
    peers[-1].sync()


def test_accepted_sockets_have_nodelay_and_keepalive(server: ServerProcess) -> None:
    # The server's end of the connection is reached through a duplicate of its descriptor.
    peer = server.peer()
    peer.sync()
    [connection] = [found for found in psutil.Process(server.pid).net_connections() if found.raddr]
    pidfd = os.pidfd_open(server.pid)
    try:
        copy = _duplicate(pidfd, connection.fd)
        with socket.socket(fileno=copy) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    finally:
        os.close(pidfd)


def _duplicate(pidfd: int, descriptor: int) -> int:
    import ctypes

    pidfd_getfd = 438
    copy: int = ctypes.CDLL(None, use_errno=True).syscall(pidfd_getfd, pidfd, descriptor, 0)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    return copy
