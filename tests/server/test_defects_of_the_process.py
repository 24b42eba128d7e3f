"""gearmand's known defects that concern the server as a process, by their number in the reference's list."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable

import psutil
import pytest

from gearman_client.packet import PacketType, encode_request

from .server_process import ServerProcess

MIB = 1 << 20


@pytest.mark.parametrize("packet_type", [2**31, 2**31 + 7, 2**32 - 1])
@pytest.mark.parametrize("magic", [b"\0REQ", b"\0RES"])
def test_01_a_packet_type_of_2_to_the_31_or_more_costs_only_its_own_connection(
    server: ServerProcess, magic: bytes, packet_type: int
) -> None:
    client, villain = server.peer(), server.peer()
    villain.socket.sendall(magic + struct.pack(">II", packet_type, 0))
    villain.read_to_end()
    client.sync()


def test_03_the_arguments_of_a_packet_are_only_searched_in_that_packet(server: ServerProcess) -> None:
    client, villain = server.peer(), server.peer()
    short = encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"only two")
    whole = encode_request(PacketType.SUBMIT_JOB_BG, b"g", b"", b"not swallowed, and not carried out either")
    villain.socket.sendall(short + whole)
    assert villain.receive() == (
        PacketType.ERROR,
        b"INVALID_PACKET\0a submission takes function, unique and workload",
    )
    assert villain.read_to_end() == b""
    assert client.text(b"status") == b".\n"


@pytest.mark.parametrize("kind", ["SUBMIT_REDUCE_JOB", "SUBMIT_REDUCE_JOB_BACKGROUND"])
def test_17_a_reduce_packet_with_the_documented_three_strings_is_a_job(server: ServerProcess, kind: str) -> None:
    client, worker = server.peer(), server.peer()
    packet_type, handle = client.ask(PacketType[kind], b"f", b"u", b"sum", b"work")
    assert packet_type == PacketType.JOB_CREATED
    client.sync()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB_ALL) == (PacketType.JOB_ASSIGN_ALL, handle + b"\0f\0u\0sum\0work")


def test_23_a_restarted_server_repeats_no_handle(start_server: Callable[..., ServerProcess]) -> None:
    handles = []
    for _ in range(2):
        server = start_server()
        client = server.peer()
        handles += [client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")[1] for _ in range(3)]
        server.signal(signal.SIGTERM)
        server.wait()
    assert len(set(handles)) == 6


def test_25_the_size_of_a_packet_is_limited(start_server: Callable[..., ServerProcess]) -> None:
    peer = start_server("--max-packet-size", "100000").peer()
    peer.socket.sendall(b"\0REQ" + struct.pack(">II", PacketType.SUBMIT_JOB_BG, 2**32 - 1))
    assert peer.receive()[0] == PacketType.ERROR
    assert peer.read_to_end() == b""


def test_25_announcing_a_big_packet_takes_no_memory(server: ServerProcess) -> None:
    peer = server.peer()
    peer.sync()
    before = psutil.Process(server.pid).memory_info().rss
    peer.socket.sendall(b"\0REQ" + struct.pack(">II", PacketType.SUBMIT_JOB_BG, 200 * MIB) + b"f\0")
    server.peer().sync()
    assert psutil.Process(server.pid).memory_info().rss - before < 10 * MIB


def test_25_the_memory_of_a_large_backlog_is_given_back(
    server: ServerProcess, until: Callable[[Callable[[], bool]], None]
) -> None:
    client, process = server.peer(), psutil.Process(server.pid)
    client.sync()
    before = process.memory_info().rss
    request = encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"x" * 10_000)
    for _ in range(150):
        client.socket.sendall(request * 100)
        for _ in range(100):
            client.receive()
    assert process.memory_info().rss - before > 100 * MIB
    assert client.text(b"drop function f") == b"OK\r\n"
    until(lambda: process.memory_info().rss - before < 20 * MIB)


def test_28_a_graceful_end_refuses_new_jobs_and_waits_only_for_running_ones(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    client.ask(PacketType.SUBMIT_JOB_BG, b"nobody does this", b"", b"w")
    worker.ask(PacketType.GRAB_JOB)
    server.signal(signal.SIGUSR1)
    refusal = (PacketType.ERROR, b"QUEUE_ERROR\0The server is shutting down")
    while (answer := client.ask(PacketType.SUBMIT_JOB_BG, b"g", b"", b"w")) != refusal:
        assert answer[0] == PacketType.JOB_CREATED  # sent before the signal arrived
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")
    assert server.wait() == 0


def test_32_only_administrators_change_things_and_shutdown_is_off_by_default(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--admin-allow", "192.0.2.0/24")
    for line in (b"create function f", b"drop function f", b"cancel job H:x:1", b"maxqueue f 1"):
        assert server.text(line).startswith(b"ERR NOT_ALLOWED ")
    assert server.text(b"shutdown").startswith(b"ERR UNKNOWN_COMMAND ")
    assert server.text(b"version").startswith(b"OK ")
