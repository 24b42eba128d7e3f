"""A worker for tests that kill it: goes through one job without end, step by step, with a checkpoint behind each.

Started as `python killed_walker.py PORT JOURNAL`; it reconnects whenever the server is gone. The journal has a line for
each attempt, `begin CURSOR`, and for each checkpoint that was sent, `CURSOR TIME`.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from gearman_client.extensions import CHECKPOINT, JOB_ASSIGN_ATTEMPT, JOB_ASSIGN_WITH
from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

PAUSE_S = 0.005


def serve(port: int, journal: int) -> None:
    """Serve one connection until it ends."""
    parser = PacketParser(RESPONSE_MAGIC)
    options = [encode_request(PacketType.OPTION_REQ, name) for name in (b"job-attempt", b"job-options")]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"".join(options) + encode_request(PacketType.CAN_DO, b"walk"))
        connection.sendall(encode_request(PacketType.GRAB_JOB_UNIQ))
        while data := connection.recv(65536):
            for packet_type, body in parser.feed(data):
                if packet_type in (JOB_ASSIGN_ATTEMPT, JOB_ASSIGN_WITH):
                    walk(connection, journal, body)
                elif packet_type == PacketType.NO_JOB:
                    connection.sendall(encode_request(PacketType.PRE_SLEEP))
                elif packet_type == PacketType.NOOP:
                    connection.sendall(encode_request(PacketType.GRAB_JOB_UNIQ))


def walk(connection: socket.socket, journal: int, body: bytes) -> None:
    handle, _, rest = body.partition(b"\0")
    at = int(rest.partition(b"cursor=")[2].partition(b"\0")[0] or b"0")
    os.write(journal, b"begin %d\n" % at)
    connection.setblocking(False)
    while not has_ended(connection):
        at += 1
        connection.sendall(encode_request(CHECKPOINT, handle, b"%d" % at))
        os.write(journal, b"%d %.6f\n" % (at, time.monotonic()))
        time.sleep(PAUSE_S)
    raise ConnectionResetError


def has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def main() -> None:
    """Serve until this process is killed."""
    port, journal = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        try:
            serve(port, journal)
        except OSError:
            time.sleep(PAUSE_S)


main()
