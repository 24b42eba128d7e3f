"""What the tests of the server's edge share: certificates, TLS and Unix peers, and what a command said."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


class Certificates:
    """A CA, a server's certificate and a client's, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = self._make("ca", "/CN=Test CA", "-x509", "-addext", "basicConstraints=critical,CA:TRUE")
        self.server = self.signed("server", "/CN=localhost")
        self.client = self.signed("client", "/O=Example/CN=worker 1")
        self.stranger = self._make("stranger", "/CN=stranger", "-x509")

    def key(self, certificate: Path) -> Path:
        return certificate.with_suffix(".key")

    def signed(self, name: str, subject: str) -> Path:
        ca = ["-CA", str(self.ca), "-CAkey", str(self.key(self.ca))]
        return self._make(name, subject, "-x509", *ca, "-addext", "subjectAltName=DNS:localhost")

    def _make(self, name: str, subject: str, *options: str) -> Path:
        path = self._folder / f"{name}.pem"
        subprocess.run(
            [
                *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", subject, "-keyout", str(self.key(path)), "-out", str(path), *options),
            ],
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )
        return path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Fresh certificates; the CA has signed the server's and the client's."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


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
