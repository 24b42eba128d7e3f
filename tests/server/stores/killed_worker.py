"""A worker for tests that kill it: runs a job by writing its workload and the time into a journal, then completes it.

Started as `python killed_worker.py PORT JOURNAL`; it reconnects whenever the server is gone.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

PAUSE_S = 0.005


def serve(port: int, journal: int) -> None:
    """Serve one connection until it ends."""
    parser = PacketParser(RESPONSE_MAGIC)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(encode_request(PacketType.CAN_DO, b"f") + encode_request(PacketType.GRAB_JOB))
        while data := connection.recv(65536):
            for packet_type, body in parser.feed(data):
                answer = encode_request(PacketType.GRAB_JOB)
                if packet_type == PacketType.JOB_ASSIGN:
                    handle, _, workload = body.split(b"\0", 2)
                    os.write(journal, b"%s %.6f\n" % (workload, time.monotonic()))
                    answer = encode_request(PacketType.WORK_COMPLETE, handle, b"") + answer
                elif packet_type == PacketType.NO_JOB:
                    answer = encode_request(PacketType.PRE_SLEEP)
                connection.sendall(answer)


def main() -> None:
    """Serve until this process is killed."""
    port, journal = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        try:
            serve(port, journal)
        except OSError:
            time.sleep(PAUSE_S)


main()
