"""`from gearman_server import Server`: the job server inside a gevent program."""

from __future__ import annotations

import subprocess
import sys

import gevent
import pytest
from gevent import socket

from gearman_client.packet import PacketType, encode_request
from gearman_server import Server
from gearman_server.errors import StartError

DEADLINE_S = 20


def echoed(address: str) -> bytes:
    """What the server at an address answers to one ECHO_REQ."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as peer:
        peer.sendall(encode_request(PacketType.ECHO_REQ, b"x"))
        return peer.recv(100)


ECHO = b"\0RES\0\0\0\x11\0\0\0\x01x"


def test_an_embedded_server_serves_between_start_and_stop() -> None:
    server = Server("127.0.0.1:0")
    server.start()
    assert server.address == f"127.0.0.1:{server.port}"
    assert echoed(server.address) == ECHO
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        echoed(server.address)


def test_stopping_closes_connections_and_can_be_repeated() -> None:
    with Server("127.0.0.1:0") as server, socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.settimeout(DEADLINE_S)
        peer.sendall(b"getpid\n")
        assert peer.recv(100).startswith(b"OK ")
        server.stop()
        assert peer.recv(100) == b""
    server.stop()


def test_two_servers_live_side_by_side_and_the_program_goes_on() -> None:
    counted = []

    def count() -> None:
        while len(counted) < 3:
            counted.append(1)
            gevent.sleep(0)

    with Server("127.0.0.1:0") as one, Server("127.0.0.1:0") as other:
        counter = gevent.spawn(count)
        assert one.port != other.port
        assert echoed(one.address) == echoed(other.address) == ECHO
        counter.join(DEADLINE_S)
    assert len(counted) == 3


def test_finishing_waits_for_the_running_job() -> None:
    with Server("127.0.0.1:0") as server, socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.settimeout(DEADLINE_S)
        peer.sendall(encode_request(PacketType.CAN_DO, b"f") + encode_request(PacketType.SUBMIT_JOB, b"f", b"", b""))
        handle = peer.recv(100)[12:]
        peer.sendall(encode_request(PacketType.GRAB_JOB))
        assert peer.recv(100)[4:8] == b"\0\0\0\x0b"
        idle = gevent.event.Event()
        server.finish(idle.set)
        assert not idle.wait(0)
        peer.sendall(encode_request(PacketType.WORK_COMPLETE, handle, b"r"))
        assert idle.wait(DEADLINE_S)


def test_a_server_has_no_address_before_it_starts_and_starts_once() -> None:
    server = Server("127.0.0.1:0")
    with pytest.raises(StartError, match="before it is started"):
        _ = server.address
    with server, pytest.raises(StartError, match="once"):
        server.start()


def test_a_taken_port_is_an_error_for_the_program_to_catch() -> None:
    with Server("127.0.0.1:0") as server, pytest.raises(StartError, match=f"port {server.port} on 127.0.0.1 is taken"):
        Server(server.address).start()


def test_a_monkey_patched_program_can_embed_it() -> None:
    program = """
from gevent import monkey; monkey.patch_all()
import socket
from gearman_server import Server
with Server("127.0.0.1:0") as server:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(b"maxqueue f\\n")
        print(peer.recv(100))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == r"b'f\t0\t0\t0\n.\n'" + "\n"


def test_importing_the_package_loads_neither_gevent_nor_the_server() -> None:
    program = "import gearman_server, sys; print([m for m in sys.modules if 'gevent' in m or 'click' in m])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert ran.stdout == "[]\n"
