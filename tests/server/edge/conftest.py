"""What the tests of the server's edge share: TLS and Unix peers, and what a command said."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, encode_request

from ...certificates import Certificates

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


@pytest.fixture
def tls_options(certificates: Certificates) -> list[str]:
    """The options that name the server's certificate and key."""
    return [
        *("--ssl-certificate", str(certificates.server)),
        *("--ssl-key", str(certificates.key(certificates.server))),
    ]


@pytest.fixture
def connect_tls(certificates: Certificates) -> Iterator[Callable[..., StreamPeer]]:
    """Connects by TLS, checking the server's certificate: `connect_tls(port)`, `connect_tls(port, certificate=...)`."""
    opened = []

    def connect(port: int, certificate: Path | None = None, version: ssl.TLSVersion | None = None) -> StreamPeer:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        if certificate is not None:
            context.load_cert_chain(certificate, certificates.key(certificate))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        stream = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        opened.append(stream)
        opened.append(context.wrap_socket(stream, server_hostname="localhost"))
        return StreamPeer(opened[-1])

    yield connect
    for stream in opened:
        stream.close()


@pytest.fixture
def connect_unix() -> Iterator[Callable[[str], StreamPeer]]:
    """Connects to a Unix socket."""
    opened = []

    def connect(path: str) -> StreamPeer:
        stream = socket.socket(socket.AF_UNIX)
        opened.append(stream)
        stream.settimeout(DEADLINE_S)
        stream.connect(path)
        return StreamPeer(stream)

    yield connect
    for stream in opened:
        stream.close()
