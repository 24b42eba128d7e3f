"""Several job servers on one database: what sharing costs, and how soon the others have a dead one's jobs.

The databases are those of the tests; they run on the same processors as the servers, so two servers together have no
more of these than one.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from os import kill
from statistics import median
from typing import Final

from durable import MYSQL, POSTGRESQL, own_database
from gearload import gearload
from scope import Scope
from servers import Server, ours, started
from sqlalchemy import create_engine, text

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request

DATABASES: Final = (("PostgreSQL", POSTGRESQL), ("MariaDB", MYSQL))
SUBMISSIONS: Final = ("-n 60000 -c 16 -d 10", "-n 60000 -c 4 -d 100")
AT_LEAST_OF_ALONE: Final = 0.85
MILLION: Final = 1_000_000
#: Kills in a round, of which the worst counts. One takes some seconds.
KILLS: Final = 20
#: The longest times (seconds) from a kill to the first waiting job served elsewhere, to a running one known there, and
#: to a refused connection.
WAITING_S, RUNNING_S, REFUSED_S = 3.5, 5.0, 0.5
FIRST_S, ALL_S, EXTRA_BYTES = 5.0, 20.0, 100e6
IDLE_S: Final = 20.0
STATEMENTS_A_SECOND, IDLE_CPU = 6.0, 0.003


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    yield f"Servers of a cluster, medians of {scope.rounds} rounds"
    yield ""
    yield "| durable submissions | alone, jobs/s | in a cluster | ratio | bar | two servers together | |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    for name, url in DATABASES:
        for arguments in SUBMISSIONS:
            if scope.wants(f"{name}: submit {arguments}"):
                yield _submission_line(name, url, arguments, scope.rounds)
    for name, url in DATABASES:
        if scope.wants(f"{name}: kill"):
            yield from ("", *_kills(name, url, KILLS * scope.rounds))
    for name, url in DATABASES:
        if scope.wants(f"{name}: million"):
            yield from ("", *_million(name, url))
    for name, url in DATABASES:
        if scope.wants(f"{name}: idle"):
            yield from ("", *_idle(name, url))


def alone(url: str) -> Callable[[int], list[str]]:
    """The command of a server that has the store alone."""
    return lambda port: [*ours(port), "--store", url]


def member(url: str) -> Callable[[int], list[str]]:
    """The command of a server of a cluster."""
    return lambda port: [*ours(port), "--store", url, "--cluster", "bench"]


def _submission_line(name: str, url: str, arguments: str, rounds: int) -> str:
    apart, shared, both = [], [], []
    for _ in range(rounds):
        with own_database(url) as own, started(alone(own)) as server:
            apart.append(gearload(server.port, f"submit {arguments}")["jobs_per_s"])
        with own_database(url) as own, started(member(own)) as server, started(member(own)) as other:
            shared.append(gearload(server.port, f"submit {arguments}")["jobs_per_s"])
            both.append(_together([server, other], arguments))
    ratio = median(shared) / median(apart)
    return (
        f"| {name}: submit {arguments} | {median(apart):,.0f} | {median(shared):,.0f} | {ratio:.2f}"
        f" | ≥ {AT_LEAST_OF_ALONE} | {median(both):,.0f} | {_verdict(ratio >= AT_LEAST_OF_ALONE)} |"
    )


def _together(servers: list[Server], arguments: str) -> float:
    rates: list[float] = []
    threads = [
        threading.Thread(
            target=lambda port=server.port: rates.append(gearload(port, f"submit {arguments}")["jobs_per_s"])
        )
        for server in servers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


# --- kills


def _kills(name: str, url: str, kills: int) -> Iterator[str]:
    """Kill one of three under load, again and again; the worst times."""
    waiting, running, refused = [], [], []
    with own_database(url) as own, started(member(own)) as first, started(member(own)) as second:
        for _ in range(kills):
            with started(member(own)) as victim, _load([first, second]):
                seconds = _kill_once(victim, [first, second])
            waiting.append(seconds[0])
            running.append(seconds[1])
            refused.append(seconds[2])
    rows = (
        ("a waiting job of it is served elsewhere", max(waiting), WAITING_S),
        ("a running job of it runs again elsewhere", max(running), RUNNING_S),
        ("a new connection is refused", max(refused), REFUSED_S),
    )
    yield from _table(
        f"{name}: kill -9 of one of three under load, the worst of {kills}",
        *((what, f"{worst:.2f} s", f"{bar:g} s", worst <= bar) for what, worst, bar in rows),
    )


def _table(title: str, *rows: tuple[str, str, str, bool]) -> Iterator[str]:
    yield title
    yield ""
    yield "| | | bar | |"
    yield "|---|--:|--:|---|"
    for what, figure, bar, is_met in rows:
        yield f"| {what} | {figure} | ≤ {bar} | {_verdict(is_met)} |"


def _kill_once(victim: Server, living: list[Server]) -> tuple[float, float, float]:
    client, worker, *others = (Peer(server.port) for server in (victim, victim, *living))
    handles = [client.ask(PacketType.SUBMIT_JOB_BG, function, b"", b"w")[1] for function in (b"runs", b"waits")]
    worker.send(encode_request(PacketType.CAN_DO, b"runs"))
    worker.ask(PacketType.GRAB_JOB)
    for other in others:
        other.send(encode_request(PacketType.CAN_DO, b"runs") + encode_request(PacketType.CAN_DO, b"waits"))
    time.sleep(1.0)  # for the links, and for the row to say that the job runs
    kill(victim.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    refused_s = _refusal(victim.port) - killed_at
    seen: dict[bytes, float] = {}
    while len(seen) < len(handles) and time.monotonic() < killed_at + 30:
        for other in others:
            packet_type, body = other.ask(PacketType.GRAB_JOB)
            if packet_type == PacketType.JOB_ASSIGN:
                handle = body.partition(b"\0")[0]
                seen[handle] = time.monotonic() - killed_at
                other.send(encode_request(PacketType.WORK_COMPLETE, handle, b""))
        time.sleep(0.01)
    for peer in (client, worker, *others):
        peer.close()
    return seen.get(handles[1], 30.0), seen.get(handles[0], 30.0), refused_s


def _refusal(port: int) -> float:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return time.monotonic()


@contextlib.contextmanager
def _load(servers: list[Server]) -> Iterator[None]:
    """Submit durable jobs and run them, at a pace that leaves room on the processors."""
    is_over = threading.Event()

    def run(port: int) -> None:
        client, worker = Peer(port), Peer(port)
        worker.send(encode_request(PacketType.CAN_DO, b"load"))
        while not is_over.wait(0.005):
            client.ask(PacketType.SUBMIT_JOB_BG, b"load", b"", b"w")
            packet_type, body = worker.ask(PacketType.GRAB_JOB)
            if packet_type == PacketType.JOB_ASSIGN:
                worker.send(encode_request(PacketType.WORK_COMPLETE, body.partition(b"\0")[0], b""))

    threads = [threading.Thread(target=run, args=(server.port,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


class Peer:
    """A client or worker, packet by packet."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = PacketParser(RESPONSE_MAGIC)
        self._packets: list[tuple[int, bytes]] = []

    def send(self, packets: bytes) -> None:
        """Send packets that have no answer."""
        self._socket.sendall(packets)

    def ask(self, packet_type: int, *arguments: bytes) -> tuple[int, bytes]:
        """Send a packet; the answer."""
        self._socket.sendall(encode_request(packet_type, *arguments))
        while not self._packets:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError
            self._packets += self._parser.feed(data)
        return self._packets.pop(0)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


# --- a million rows


def _million(name: str, url: str) -> Iterator[str]:
    """A server dies with a million jobs; two adopt them."""
    with own_database(url) as own:
        with started(alone(own)) as server:
            before_bytes = server.resident_bytes()
            gearload(server.port, f"submit -n {MILLION} -c 4 -d 100 -s 100")
            each_bytes = (server.resident_bytes() - before_bytes) / MILLION
        with started(member(own), 30) as first, started(member(own), 30) as second:
            began_at, began_bytes = time.monotonic(), first.resident_bytes() + second.resident_bytes()
            first_at = None
            while (queued := _queued(first) + _queued(second)) < MILLION and time.monotonic() < began_at + 300:
                if queued and first_at is None:
                    first_at = time.monotonic()
                time.sleep(0.05)
            all_s = time.monotonic() - began_at
            more = first.resident_bytes() + second.resident_bytes() - began_bytes - MILLION * each_bytes
    first_s = (first_at or time.monotonic()) - began_at
    yield from _table(
        f"{name}: a million rows adopted by two",
        (
            "the first job, from the start of the second server",
            f"{first_s:.1f} s",
            f"{FIRST_S:g} s",
            first_s <= FIRST_S,
        ),
        ("all", f"{all_s:.1f} s", f"{ALL_S:g} s", all_s <= ALL_S),
        ("memory above the jobs' own", f"{more / 1e6:.0f} MB", f"{EXTRA_BYTES / 1e6:.0f} MB", more <= EXTRA_BYTES),
    )


def _queued(server: Server) -> int:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"status\n")
        lines = connection.makefile("rb")
        line = lines.readline()
    return int(line.split(b"\t")[1]) if b"\t" in line else 0


# --- idle


def _idle(name: str, url: str) -> Iterator[str]:
    """Three servers without a job: statements, and processor time."""
    with own_database(url) as own, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(started(member(own))) for _ in range(3)]
        time.sleep(5.0)
        statements, cpu_s, began_at = _statements(url), sum(server.cpu_s() for server in servers), time.monotonic()
        time.sleep(IDLE_S)
        took_s = time.monotonic() - began_at
        rate = (_statements(url) - statements) / took_s / 3
        cpu = (sum(server.cpu_s() for server in servers) - cpu_s) / took_s / 3
    yield from _table(
        f"{name}: an idle cluster of three, for each server",
        ("statements per second", f"{rate:.1f}", f"{STATEMENTS_A_SECOND:g}", rate <= STATEMENTS_A_SECOND),
        ("of a processor", f"{cpu:.2%}", f"{IDLE_CPU:.1%}", cpu <= IDLE_CPU),
    )


def _statements(url: str) -> float:
    """MariaDB's own count of statements; PostgreSQL's transactions: an idle server's statements are one each."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if url.startswith("postgresql"):
            connection.execute(text("SELECT pg_stat_clear_snapshot()"))
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            counted = float(connection.execute(text(query)).scalar_one())
        else:
            counted = float(connection.execute(text("SHOW GLOBAL STATUS LIKE 'Questions'")).one()[1])
    engine.dispose()
    return counted


def _verdict(is_met: bool) -> str:
    return "ok" if is_met else "MISSED"
