"""The cost of encryption: our server's CPU time per job with TLS and without, from the same clients.

Debian's gearmand knows `--ssl` but answers no handshake, so it can't be compared. The clients are written in Python and
slower than the server: their throughput means nothing, so only the server's CPU time is shown.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from scope import Scope
from servers import ours, started

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request


@dataclass(frozen=True)
class Row:
    """`clients` submit `jobs` background jobs, each client with up to `depth` of them unanswered."""

    jobs: int
    clients: int
    depth: int

    def __str__(self) -> str:
        return f"submit -n {self.jobs} -c {self.clients} -d {self.depth}"


ROWS: Final = (Row(20_000, 16, 1), Row(100_000, 4, 100))


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(f"tls: {row}")]
    if not rows:
        return
    yield f"What TLS costs gearman-server, medians of {scope.rounds} rounds"
    yield ""
    yield "| | CPU µs/job with TLS | without | more |"
    yield "|---|--:|--:|--:|"
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = make_certificate(Path(folder))
        for row in rows:
            rounds = [(_measure(row, None, None), _measure(row, certificate, key)) for _ in range(scope.rounds)]
            plain, encrypted = (median(figures) for figures in zip(*rounds, strict=True))
            yield f"| {row} | {encrypted:.1f} | {plain:.1f} | {encrypted - plain:.1f} |"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that its own key has signed, and the key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _measure(row: Row, certificate: Path | None, key: Path | None) -> float:
    """The server's CPU time for a job, in microseconds."""
    options = ["--ssl", "--ssl-certificate", str(certificate), "--ssl-key", str(key)] if certificate else []
    with started(lambda port: [*ours(port), *options]) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_connect(server.port, certificate)) for _ in range(row.clients)]
        before_s = server.cpu_s()
        for _ in range(row.jobs // (row.clients * row.depth)):
            for client in clients:
                client.sendall(_REQUEST * row.depth)
            for client in clients:
                _read_answers(client, row.depth)
        return (server.cpu_s() - before_s) * 1e6 / row.jobs


_REQUEST: Final = encode_request(PacketType.SUBMIT_JOB_BG, b"gearload", b"", b"x" * 16)


def _connect(port: int, certificate: Path | None) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port), timeout=10)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if certificate is None:
        return connected
    return ssl.create_default_context(cafile=str(certificate)).wrap_socket(connected, server_hostname="localhost")


def _read_answers(client: socket.socket, count: int) -> None:
    parser = PacketParser(RESPONSE_MAGIC)
    while count > 0:
        count -= len(parser.feed(client.recv(65536)))
