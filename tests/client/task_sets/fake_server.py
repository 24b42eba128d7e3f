"""A job server that plays tricks: it splits, joins, delays and reorders packets as far as the protocol allows, sends
reports before the job is acknowledged, answers refusals, and closes connections in the middle of a packet.

It is its own worker: a job's result is its workload reversed. A workload that begins with `fail` fails, `raise` raises,
`refuse` is refused.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from random import Random

from gearman_client import Address
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_response

T = PacketType
_BACKGROUND = {T.SUBMIT_JOB_BG, T.SUBMIT_JOB_HIGH_BG, T.SUBMIT_JOB_LOW_BG}
_FOREGROUND = {T.SUBMIT_JOB, T.SUBMIT_JOB_HIGH, T.SUBMIT_JOB_LOW}


class FakeServer:
    """Serves until it is closed. What it does depends on `seed` alone, and on the packets.

    breaks: so many connections are closed after a random number of bytes.
    """

    def __init__(self, seed: int, breaks: int = 0, *, delays: bool = True) -> None:
        self._random = Random(seed)
        self._breaks = breaks
        self._delays = delays
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        #: The workloads of the background jobs that it has accepted, whether or not it could say so.
        self.background: list[bytes] = []
        self._jobs = 0
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop_writer.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        connections: list[_Connection] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self._listener.close)
            stack.callback(self._stop_reader.close)
            while True:
                waiting = any(connection.has_output for connection in connections)
                readers = [self._listener, self._stop_reader, *(connection.socket for connection in connections)]
                ready, _, _ = select.select(readers, [], [], 0.001 if waiting else None)
                if self._stop_reader in ready:
                    break
                if self._listener in ready:
                    connections.append(_Connection(self._listener.accept()[0], self, self._break_after()))
                for connection in list(connections):
                    if not connection.serve(connection.socket in ready):
                        connection.socket.close()
                        connections.remove(connection)
            for connection in connections:
                connection.socket.close()

    def _break_after(self) -> int | None:
        if not self._breaks:
            return None
        self._breaks -= 1
        return self._random.randrange(60, 600)

    def chance(self, of: int) -> bool:
        """True once in so many times."""
        return self._delays and self._random.randrange(of) == 0

    def below(self, most: int) -> int:
        return self._random.randrange(most)

    def new_handle(self) -> bytes:
        self._jobs += 1
        return b"H:fake:%d" % self._jobs


class _Connection:
    """One connection: `ordered` holds answers in the order of requests, `reports` those of each job."""

    def __init__(self, sock: socket.socket, server: FakeServer, break_after: int | None) -> None:
        self.socket = sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        self._left = break_after
        self._parser = PacketParser(REQUEST_MAGIC)
        self._ordered: list[bytes] = []
        self._reports: list[list[bytes]] = []
        self._out = b""

    @property
    def has_output(self) -> bool:
        return bool(self._ordered or self._reports or self._out)

    def serve(self, is_readable: bool) -> bool:
        """Read if there is something, and send a little; False closes the connection."""
        try:
            if is_readable:
                data = self.socket.recv(65536)
                if not data:
                    return False
                for packet_type, body in self._parser.feed(data):
                    self._take(packet_type, body)
            return self._send()
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _take(self, packet_type: int, body: bytes) -> None:
        if packet_type == T.OPTION_REQ and body == b"servers":
            self._ordered.append(encode_response(T.ERROR, b"UNKNOWN_OPTION", b""))
        elif packet_type == T.OPTION_REQ:
            self._ordered.append(encode_response(T.OPTION_RES, body))
        elif packet_type == T.GET_STATUS:
            self._ordered.append(encode_response(T.STATUS_RES, body, b"1", b"1", b"3", b"7"))
        elif packet_type in _BACKGROUND or packet_type in _FOREGROUND:
            _, _, workload = body.split(b"\0", 2)
            if workload.startswith(b"refuse"):
                self._ordered.append(encode_response(T.ERROR, b"QUEUE_ERROR", b"Job queue is full"))
                return
            handle = self._server.new_handle()
            created = encode_response(T.JOB_CREATED, handle)
            if packet_type in _BACKGROUND:
                self._server.background.append(workload)
                self._ordered.append(created)
            else:
                self._ordered.append(created)
                self._reports.append(self._life(handle, workload))
        else:
            raise AssertionError(f"the client sent packet type {packet_type}")

    def _life(self, handle: bytes, workload: bytes) -> list[bytes]:
        reports = [encode_response(T.WORK_STATUS, handle, b"%d" % step, b"2") for step in range(self._server.below(3))]
        if self._server.chance(2):
            reports.append(encode_response(T.WORK_DATA, handle, workload))
        if workload.startswith(b"fail"):
            # gearmand's substitute for an exception has a zero byte after the handle.
            reports.append(encode_response(T.WORK_FAIL, handle + b"\0" * self._server.below(2)))
        elif workload.startswith(b"raise"):
            reports.append(encode_response(T.WORK_EXCEPTION, handle, workload))
            if self._server.chance(2):
                reports.append(encode_response(T.WORK_FAIL, handle))
        elif not workload and self._server.chance(2):
            reports.append(encode_response(T.WORK_COMPLETE, handle))  # without a zero byte after the handle
        else:
            reports.append(encode_response(T.WORK_COMPLETE, handle, workload[::-1]))
        return reports

    def _send(self) -> bool:
        """Choose what comes next, and send a piece of it, or nothing."""
        server = self._server
        while self._ordered or self._reports:
            if self._ordered and (not self._reports or server.below(3)):
                self._out += self._ordered.pop(0)
            else:
                job = self._reports[server.below(len(self._reports))]
                self._out += job.pop(0)
                if not job:
                    self._reports.remove(job)
            if server.chance(4):
                break
        if not self._out or server.chance(4):
            return True
        piece = self._out[: 1 + server.below(len(self._out))] if server.chance(2) else self._out
        if self._left is not None and self._left <= len(piece):
            self.socket.send(piece[: self._left])
            return False
        sent = self.socket.send(piece)
        self._out = self._out[sent:]
        if self._left is not None:
            self._left -= sent
        return True
