"""A client on any connected stream, TLS or a Unix socket: bytes out, packets in."""

from __future__ import annotations

import socket

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, encode_request

DEADLINE_S = 20.0


class StreamPeer:
    """A client on any connected stream: bytes out, packets in."""

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self._parser = PacketParser(RESPONSE_MAGIC)
        self._packets: list[tuple[int, bytes]] = []

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.socket.sendall(encode_request(packet_type, *arguments))

    def receive(self) -> tuple[int, bytes]:
        while not self._packets:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._packets += self._parser.feed(data)
        return self._packets.pop(0)

    def ask(self, packet_type: int, *arguments: bytes) -> tuple[int, bytes]:
        self.send(packet_type, *arguments)
        return self.receive()

    def text(self, line: bytes) -> bytes:
        """The answer of one line to a text command."""
        self.socket.sendall(line + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (data := self.socket.recv(65536)):
            answer += data
        return answer

    def table(self, line: bytes) -> bytes:
        """The answer to a text command that answers with a table."""
        self.socket.sendall(line + b"\n")
        answer = b""
        while not (answer == b".\n" or answer.endswith(b"\n.\n")) and (data := self.socket.recv(65536)):
            answer += data
        return answer
