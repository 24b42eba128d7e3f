"""A raw peer of a server on any connected stream, TCP, TLS or a Unix socket: bytes out, packets in."""

from __future__ import annotations

import contextlib
import socket

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

DEADLINE_S = 20.0

Received = tuple[int, bytes]


class StreamPeer:
    """A raw connection to a server: bytes out, packets in."""

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self._parser = PacketParser(RESPONSE_MAGIC)
        self._packets: list[Received] = []

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.socket.sendall(encode_request(packet_type, *arguments))

    def receive(self) -> Received:
        """The next packet."""
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._packets += self._parser.feed(data)
            assert self._parser.violation is None
        return self._packets.pop(0)

    def ask(self, packet_type: int, *arguments: bytes) -> Received:
        self.send(packet_type, *arguments)
        return self.receive()

    def text(self, line: bytes) -> bytes:
        """The answer to a text command: up to the line `.` of a table, or one line."""
        self.socket.sendall(line + b"\n")
        words = line.split(b" ")
        is_table = words[0] in (b"status", b"workers", b"prioritystatus", b"show", b"policies")
        is_table = is_table or (words[0] in (b"dead", b"jobs") and words[1] in (b"list", b"show", b"count"))
        answer = b""
        while not (answer == b".\n" or answer.endswith(b"\n.\n") if is_table else answer.endswith(b"\n")):
            data = self.socket.recv(65536)
            if not data:
                break
            answer += data
        return answer

    def read_to_end(self) -> bytes:
        """Everything until the server closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := self.socket.recv(65536):
                data += chunk
        return data

    def sync(self) -> None:
        """Return when the server has carried out all earlier requests."""
        assert self.ask(PacketType.ECHO_REQ, b"sync") == (PacketType.ECHO_RES, b"sync")

    def close(self) -> None:
        self.socket.close()
