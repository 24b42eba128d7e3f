"""Random and mangled bytes, over every kind of port, against a live server while a well-behaved pair keeps working."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
from collections.abc import Callable
from random import Random

import pytest

from gearman_client.packet import PacketType, encode_request

from .server_process import ServerProcess

DEADLINE_S = 15
ROUNDS = 150


def port_of(server: ServerProcess, purpose: str) -> int:
    return int(server.announced[purpose][0].rpartition(":")[2])


def noise(chance: Random) -> bytes:
    """Bytes that no client sends on purpose: noise, headers with wrong figures, packets cut, joined and flipped."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 3000))
    if kind == 1:
        return (
            b"\0REQ" + struct.pack(">II", chance.randrange(2**32), chance.choice([0, 5, 2**20, 2**32 - 1])) + b"x" * 50
        )
    packets = [
        encode_request(
            chance.randrange(1, 60), *(chance.randbytes(chance.randrange(20)) for _ in range(chance.randrange(6)))
        )
        for _ in range(chance.randrange(1, 20))
    ]
    data = bytearray(b"".join(packets))
    if kind == 2:
        return bytes(data[: chance.randrange(1, len(data) + 1)])
    if kind == 3:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    if kind == 4:
        return b" ".join(chance.randbytes(chance.randrange(1, 30)) for _ in range(8)) + b"\n"
    if kind == 5:
        return (
            b"POST /f HTTP/1.1\r\n" + chance.randbytes(200) + b"\r\nContent-Length: 99999999999\r\n\r\n" + bytes(data)
        )
    return bytes(data)


def throw(port: int, seed: int) -> None:
    """Opens one connection after the other, each with its noise; leaves it open, closes or resets it."""
    chance = random.Random(seed)
    left_open = []
    for _ in range(ROUNDS):
        try:
            stream = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
            stream.sendall(noise(chance))
            if chance.random() < 0.3:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if chance.random() < 0.5:
                select.select([stream], [], [], 0.005)  # now and then it waits for an answer, and leaves it unread
        except ConnectionError:
            pass
        if chance.random() < 0.1:
            left_open.append(stream)
        else:
            stream.close()
    for stream in left_open:
        stream.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_on_every_port_does_not_disturb_a_well_behaved_pair(
    start_server: Callable[..., ServerProcess], tls_options: list[str], seed: int
) -> None:
    server = start_server(
        *("-r", "http", "--http-port", "0", "--metrics-listen", "127.0.0.1:0", "--ssl-port", "0"), *tls_options
    )
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"well behaved")
    worker.sync()
    ports = [server.port, *(port_of(server, purpose) for purpose in ("tls", "http", "metrics"))]
    throwers = [threading.Thread(target=throw, args=(port, seed * 10 + n), daemon=True) for n, port in enumerate(ports)]
    for thrower in throwers:
        thrower.start()
    done = 0
    while any(thrower.is_alive() for thrower in throwers) or done < 100:
        handle = client.ask(PacketType.SUBMIT_JOB, b"well behaved", b"", b"%d" % done)[1]
        assert worker.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, handle + b"\0well behaved\0%d" % done)
        worker.send(PacketType.WORK_COMPLETE, handle, b"%d" % done)
        assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0%d" % done)
        done += 1
    server.process.terminate()
    assert server.wait() == 0
    log = server.stderr.read()
    assert b"Traceback" not in log
    assert b"internal error" not in log
