"""One peer's floods, and the time that another connection waits for an echo meanwhile: our server beside gearmand.

Each row is a flood that holds up a server which carries out everything that it has read before it goes on, builds
answers as a whole, or walks over everything that it has. Every measurement has a fresh server.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from scope import Scope
from servers import Server, fresh_server, ours, started
from tls import make_certificate

from gearman_client.packet import HEADER_BYTES, PacketType, encode_request

sys.path.append(str(Path(__file__).parent.parent))
from tests.server.key_updates import KeyUpdater

OURS, THEIRS = "gearman-server", "gearmand"
#: A flood that is not over by then is ended. gearmand takes minutes for some.
LONGEST_FLOOD_S: Final = 15.0
#: How long the probe's last echo may take.
LONGEST_ECHO_S: Final = 30.0
PROBE_EVERY_S: Final = 0.001
#: Some floods are over within milliseconds.
LEAST_ECHOES: Final = 100
#: The bars, on a machine without other load.
MOST_P99_MS, MOST_MS, MOST_MB = 20.0, 100.0, 64.0

_T = PacketType
#: Prepares on a server at this port, yields, and is asked to go on when the flood is to come.
Flood = Callable[[int], Iterator[None]]


# --- the peer that floods


def connected(port: int) -> socket.socket:
    """A connection that gives up when the flood has taken too long."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_FLOOD_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def exchange(peer: socket.socket, requests: bytes, answer_bytes: int) -> None:
    """Send requests and read their answers, of this many bytes at least, at the same time."""
    sender = threading.Thread(target=_send, args=(peer, requests))
    sender.start()
    deadline = time.monotonic() + LONGEST_FLOOD_S
    while answer_bytes > 0 and time.monotonic() < deadline:
        answer = peer.recv(1 << 20)
        if not answer:
            break
        answer_bytes -= len(answer)
    sender.join(LONGEST_FLOOD_S)


def _send(peer: socket.socket, requests: bytes) -> None:
    with contextlib.suppress(OSError):  # the reader sees it too
        peer.sendall(requests)


def read_tables(peer: socket.socket, tables: int) -> None:
    """Read this many answers that end with a line of a full stop."""
    tail, deadline = b"\n", time.monotonic() + LONGEST_FLOOD_S
    while tables > 0 and time.monotonic() < deadline:
        answer = peer.recv(1 << 20)
        if not answer:
            break
        tables -= (tail + answer).count(b"\n.\n")
        tail = (tail + answer)[-2:]


def echo(peer: socket.socket) -> None:
    """Wait until all earlier requests of this peer are carried out."""
    peer.sendall(encode_request(_T.ECHO_REQ, b"x"))
    left = HEADER_BYTES + 1
    while left:
        answer = peer.recv(left)
        if not answer:
            raise ConnectionResetError("the server closed the connection")
        left -= len(answer)


def vanish(peer: socket.socket) -> None:
    """Close the connection at once."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    time.sleep(2)  # the server has its work after that


def worker_of(port: int, functions: int, name_bytes: int = 0) -> socket.socket:
    """A worker with this many functions, known to the server."""
    worker = connected(port)
    names = (b"f%d" % number + b"x" * name_bytes for number in range(functions))
    worker.sendall(b"".join(encode_request(_T.CAN_DO, name) for name in names))
    echo(worker)
    return worker


def submit(port: int, jobs: int, kind: PacketType, *, with_unique: bool = False) -> socket.socket:
    """A client that has submitted this many jobs of one function."""
    client = connected(port)
    uniques = (b"u%d" % number if with_unique else b"" for number in range(jobs))
    exchange(client, b"".join(encode_request(kind, b"q", unique, b"w") for unique in uniques), jobs * HEADER_BYTES)
    other = connected(port)
    echo(other)
    return client


# --- the floods


def tables(command: bytes, times: int, functions: int, name_bytes: int = 0) -> Flood:
    """A text command, many times in one write, with many functions."""

    def flood(port: int) -> Iterator[None]:
        worker = worker_of(port, functions, name_bytes)
        yield
        peer = connected(port)
        peer.sendall(command * times)
        read_tables(peer, times)
        worker.close()

    return flood


def job_tables(command: bytes, times: int, jobs: int) -> Flood:
    """A text command that lists jobs, many times in one write."""

    def flood(port: int) -> Iterator[None]:
        client = submit(port, jobs, _T.SUBMIT_JOB_BG, with_unique=True)
        yield
        peer = connected(port)
        peer.sendall(command * times)
        read_tables(peer, times)
        client.close()

    return flood


def unread(port: int) -> Iterator[None]:
    """Fifty connections ask for long tables and read none of them."""
    worker = worker_of(port, 10_000)
    yield
    peers = [connected(port) for _ in range(50)]
    for peer in peers:
        peer.sendall(b"status\n" * 100)
    time.sleep(5)
    for peer in (*peers, worker):
        peer.close()


def requests_of_a_worker(functions: int, *types: PacketType) -> Flood:
    """Five hundred requests for a job, in one write; there is none."""

    def flood(port: int) -> Iterator[None]:
        worker = worker_of(port, functions)
        yield
        exchange(worker, b"".join(map(encode_request, types)) * 500, 500 * HEADER_BYTES)
        worker.close()

    return flood


def status_by_unique_key(port: int) -> Iterator[None]:
    """Questions about unique keys that no job has."""
    worker = worker_of(port, 20_000)
    yield
    requests = b"".join(encode_request(_T.GET_STATUS_UNIQUE, b"u%d" % number) for number in range(500))
    exchange(connected(port), requests, 500 * HEADER_BYTES)
    worker.close()


def client_vanishes(port: int) -> Iterator[None]:
    """A client that waits for very many jobs is gone."""
    client = submit(port, 200_000, _T.SUBMIT_JOB)
    yield
    vanish(client)


def worker_with_functions_vanishes(port: int) -> Iterator[None]:
    """A worker with very many functions is gone."""
    worker = worker_of(port, 100_000)
    yield
    vanish(worker)


def worker_with_jobs_vanishes(port: int) -> Iterator[None]:
    """A worker that has very many jobs is gone."""
    client, worker = submit(port, 100_000, _T.SUBMIT_JOB_BG), connected(port)
    requests = encode_request(_T.CAN_DO, b"q") + encode_request(_T.GRAB_JOB) * 100_000
    exchange(worker, requests, 100_000 * (HEADER_BYTES + 10))
    yield
    vanish(worker)
    client.close()


def resets(port: int) -> Iterator[None]:
    """A worker registers very many functions and gives them up, again and again."""
    worker = worker_of(port, 10_000)
    yield
    names = b"".join(encode_request(_T.CAN_DO, b"f%d" % number) for number in range(10_000))
    _send(worker, (encode_request(_T.RESET_ABILITIES) + names) * 5)
    echo(worker)


def drop_function(port: int) -> Iterator[None]:
    """An administrator drops a function with very many jobs."""
    client = submit(port, 200_000, _T.SUBMIT_JOB_BG)
    yield
    exchange(client, b"drop function q\n", 1)


def gives_a_function_up(port: int) -> Iterator[None]:
    """A worker that has very many jobs of a function gives it up."""
    client, worker = submit(port, 100_000, _T.SUBMIT_JOB_BG), connected(port)
    requests = encode_request(_T.CAN_DO, b"q") + encode_request(_T.GRAB_JOB) * 100_000
    exchange(worker, requests, 100_000 * (HEADER_BYTES + 10))
    yield
    worker.sendall(encode_request(_T.CANT_DO, b"q"))
    echo(worker)
    client.close()


def crowd(port: int) -> Iterator[None]:
    """Very many connections ask for much at once, again and again."""
    peers = [connected(port) for _ in range(400)]
    yield
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        for peer in peers:
            peer.sendall(encode_request(_T.GET_STATUS, b"H:x:1") * 128)
        for peer in peers:
            peer.recv(1 << 16)


def unread_echoes(port: int) -> Iterator[None]:
    """A peer sends large requests, and reads none of the answers."""
    yield
    peer = connected(port)
    threading.Thread(target=_send, args=(peer, encode_request(_T.ECHO_REQ, bytes(1_000_000)) * 300)).start()
    time.sleep(5)
    peer.shutdown(socket.SHUT_RDWR)


def key_updates(port: int) -> Iterator[None]:
    """A TLS 1.3 client sends nothing but key updates; it connects again when it is closed."""
    yield
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        flooder = KeyUpdater(connected(port))
        while flooder.send(wants_answer=True) and time.monotonic() < deadline:
            pass
        flooder.close()


@dataclass(frozen=True)
class Row:
    """A flood with its name, and whether it is one by TLS, which Debian's gearmand does not answer."""

    name: str
    flood: Flood
    is_tls: bool = False


ROWS: Final = (
    Row("200 x `status`, 10,000 functions", tables(b"status\n", 200, 10_000)),
    Row("200 x `prioritystatus`, 10,000 functions", tables(b"prioritystatus\n", 200, 10_000)),
    Row("20 x `workers`, 10,000 functions", tables(b"workers\n", 20, 10_000)),
    Row("20 x `show jobs`, 100,000 jobs", job_tables(b"show jobs\n", 20, 100_000)),
    Row("20 x `show unique jobs`, 100,000 jobs", job_tables(b"show unique jobs\n", 20, 100_000)),
    Row("`status` of 20,000 names of 8 kB", tables(b"status\n", 1, 20_000, 8_000)),
    Row("50 connections x 100 `status`, unread", unread),
    Row("500 x GRAB_JOB, 10,000 functions", requests_of_a_worker(10_000, _T.GRAB_JOB)),
    Row("500 x GRAB_JOB_UNIQ, 10,000 functions", requests_of_a_worker(10_000, _T.GRAB_JOB_UNIQ)),
    Row("500 x GRAB_JOB_ALL, 10,000 functions", requests_of_a_worker(10_000, _T.GRAB_JOB_ALL)),
    Row("500 x GRAB_JOB, 100,000 functions", requests_of_a_worker(100_000, _T.GRAB_JOB)),
    Row("500 x PRE_SLEEP, GRAB_JOB, 10,000 functions", requests_of_a_worker(10_000, _T.PRE_SLEEP, _T.GRAB_JOB)),
    Row("500 x GET_STATUS_UNIQUE, 20,000 functions", status_by_unique_key),
    Row("client with 200,000 jobs vanishes", client_vanishes),
    Row("worker of 100,000 functions vanishes", worker_with_functions_vanishes),
    Row("worker with 100,000 jobs vanishes", worker_with_jobs_vanishes),
    Row("CANT_DO with 100,000 jobs", gives_a_function_up),
    Row("400 connections x 128 GET_STATUS at once", crowd),
    Row("300 x ECHO_REQ of 1 MB, unread", unread_echoes),
    Row("5 x RESET_ABILITIES, 10,000 x CAN_DO", resets),
    Row("`drop function` with 200,000 jobs", drop_function),
    Row("TLS 1.3 key updates", key_updates, is_tls=True),
)


# --- measuring


class Figures(NamedTuple):
    """One measurement."""

    p99_ms: float
    most_ms: float
    #: How much the server's memory (RSS) has grown at most.
    growth_mb: float


def probe(port: int, commands: Connection) -> None:
    """Send one echo after another, without TLS, and report their times when told to stop."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_ECHO_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times_s: list[float] = []
    commands.send("ready")
    while not commands.poll(PROBE_EVERY_S) or len(times_s) < LEAST_ECHOES:
        started = time.perf_counter()
        with contextlib.suppress(OSError):
            echo(peer)
        times_s.append(time.perf_counter() - started)
    commands.send(times_s)


def _peak_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def _server_for(server_name: str, row: Row) -> Iterator[tuple[Server, int]]:
    """A fresh server, and the port to flood."""
    if not row.is_tls:
        with fresh_server(server_name) as server:
            yield server, server.port
        return
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        tls_port = free.getsockname()[1]
        free.close()
        certificate, key = make_certificate(Path(folder))
        options = ["--ssl-port", str(tls_port), "--ssl-certificate", str(certificate), "--ssl-key", str(key)]
        with started(lambda port: [*ours(port), *options]) as server:
            yield server, tls_port


def measure(server_name: str, row: Row) -> Figures:
    """Flood one fresh server, and have another process measure echoes meanwhile."""
    with _server_for(server_name, row) as (server, flooded_port):
        flood = row.flood(flooded_port)
        next(flood)
        ours, theirs = multiprocessing.Pipe()
        prober = multiprocessing.Process(target=probe, args=(server.port, theirs))
        prober.start()
        ours.recv()
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak counts from now on
        before_bytes = server.resident_bytes()
        with contextlib.suppress(OSError):  # it has taken too long
            for _ in flood:
                pass
        ours.send("stop")
        times_s = sorted(ours.recv())
        prober.join()
        growth_bytes = _peak_bytes(server) - before_bytes
    return Figures(times_s[int(len(times_s) * 0.99)] * 1e3, times_s[-1] * 1e3, max(0, growth_bytes) / 1e6)


_HEAD: Final = (
    "| flood | echo p99, ms | gearmand | bar | longest, ms | gearmand | bar | memory, MB | gearmand | bar | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
)


def compare(row: Row, rounds: int) -> str:
    """A line of the table in Markdown: the worst of the rounds, because a stall is rare."""
    here = _worst([measure(OURS, row) for _ in range(rounds)])
    there = None if row.is_tls else _worst([measure(THEIRS, row) for _ in range(rounds)])
    p99, most, growth = ("", "", "") if there is None else map("{:,.1f}".format, there)
    is_met = here.p99_ms <= MOST_P99_MS and here.most_ms <= MOST_MS and here.growth_mb <= MOST_MB
    return (
        f"| {row.name} | {here.p99_ms:.1f} | {p99} | ≤ {MOST_P99_MS:g}"
        f" | {here.most_ms:.1f} | {most} | ≤ {MOST_MS:g}"
        f" | {here.growth_mb:.1f} | {growth} | ≤ {MOST_MB:g} | {'ok' if is_met else 'MISSED'} |"
    )


def _worst(rounds: list[Figures]) -> Figures:
    return Figures(*map(max, zip(*rounds, strict=True)))


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(row.name)]
    if rows:
        yield f"Echoes of another connection while one peer floods the server, worst of {scope.rounds} rounds"
        yield ""
        yield from _HEAD
        yield from (compare(row, scope.rounds) for row in rows)
