"""Clusters of real servers on a real database."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearman_client.extensions import QUEUE_CHANGED, QUEUE_EVENTS_OPTION
from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase, database_of, pooled, start_durable
from ..stream_peer import StreamPeer

__all__ = ["database_of", "pooled", "start_durable"]

#: Seconds. On a busy machine a beat can come a second late, and a lease that lapses now and then tests nothing.
LEASE = "3"


class Cluster:
    """Servers that share a database."""

    def __init__(self, database: StoreDatabase, start: Callable[..., ServerProcess]) -> None:
        self.database = database
        self._start = start
        self.servers: list[ServerProcess] = []

    def start(self, *options: str, url: str | None = None) -> ServerProcess:
        """Start one more server; `url` leads to the database in another way."""
        given = ("--store", url) if url is not None else ()
        server = self._start(self.database, "--cluster", "shop", "--lease", LEASE, *given, *options)
        self.servers.append(server)
        return server

    def start_with(self, environment: dict[str, str]) -> ServerProcess:
        """Start one more server in an environment of its own."""
        server = self._start(self.database, "--cluster", "shop", "--lease", LEASE, **environment)
        self.servers.append(server)
        return server

    def owners(self) -> dict[int, int]:
        """How many jobs each server owns in the database."""
        return dict(self.database.rows("owner, count(*)", "gearman_jobs GROUP BY owner"))

    def ids(self) -> list[int]:
        """The ids of the servers that live, the oldest first."""
        return [row[0] for row in self.database.rows("id", "gearman_servers WHERE state = 0 ORDER BY id")]

    def waits_for_a_row(self) -> bool:
        """Whether a transaction waits for another one."""
        if self.database.kind == "postgresql":
            return bool(self.database.rows("pid", "pg_locks WHERE NOT granted"))
        time.sleep(0.15)  # InnoDB shows the same again to whoever looks within a tenth of a second
        return bool(self.database.rows("trx_id", "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))


def submit(peer: StreamPeer, count: int, function: bytes = b"f", workload: bytes = b"w") -> list[bytes]:
    """Submit background jobs; returns their handles. Workloads are numbered from 0."""
    for number in range(count):
        peer.send(PacketType.SUBMIT_JOB_BG, function, b"", b"%s%d" % (workload, number))
    handles = []
    for _ in range(count):
        packet_type, body = peer.receive()
        assert packet_type == PacketType.JOB_CREATED, body
        handles.append(body)
    return handles


def grab(peer: StreamPeer, before: bytes = encode_request(PacketType.CAN_DO, b"f")) -> tuple[bytes, bytes] | None:
    """The next job for a worker: its handle and its workload; None: there is none now."""
    peer.socket.sendall(before + encode_request(PacketType.GRAB_JOB))
    packet_type, body = peer.receive()
    if packet_type == PacketType.NO_JOB:
        return None
    handle, _, workload = body.split(b"\0", 2)
    return handle, workload


def await_job(peer: StreamPeer, before: bytes = encode_request(PacketType.CAN_DO, b"f")) -> tuple[bytes, bytes]:
    """The next job for a worker, which sleeps until there is one: a dead server's may be in doubt for a while."""
    job = grab(peer, before)
    while job is None:
        assert peer.ask(PacketType.PRE_SLEEP)[0] == PacketType.NOOP
        job = grab(peer, b"")
    return job


def run_all(peer: StreamPeer, count: int | None = None) -> list[bytes]:
    """Run jobs until there is none, or so many, for which it waits; returns their workloads in this order."""
    done = []
    job = grab(peer) if count is None else await_job(peer)
    while job is not None:
        done.append(job[1])
        complete = encode_request(PacketType.WORK_COMPLETE, job[0], b"")
        if count is None:
            job = grab(peer, complete)
        elif len(done) < count:
            job = await_job(peer, complete)
        else:
            peer.socket.sendall(complete)
            peer.sync()
            job = None
    return done


def foreground(client: StreamPeer, worker: StreamPeer) -> None:
    """A foreground job goes through."""
    assert client.ask(PacketType.SUBMIT_JOB, b"now", b"", b"w")[0] == PacketType.JOB_CREATED
    worker.send(PacketType.CAN_DO, b"now")
    packet_type, body = worker.ask(PacketType.GRAB_JOB)
    assert packet_type == PacketType.JOB_ASSIGN
    worker.send(PacketType.WORK_COMPLETE, body.partition(b"\0")[0], b"done")
    assert client.receive()[0] == PacketType.WORK_COMPLETE


def waiting(server: ServerProcess, function: bytes = b"f") -> int:
    """How many jobs of the function the server has in memory."""
    for line in server.text(b"status").splitlines():
        name, _, counts = line.partition(b"\t")
        if name == function:
            return int(counts.split(b"\t")[0])
    return 0


def startable(server: ServerProcess, function: bytes = b"f") -> int:
    """How many of them it would give to workers: not those that are in doubt after the death of their server."""
    peer = server.peer()
    peer.send(PacketType.OPTION_REQ, QUEUE_EVENTS_OPTION)
    peer.send(PacketType.ECHO_REQ, b"")
    counts = {}
    while (packet := peer.receive())[0] != PacketType.ECHO_RES:
        if packet[0] == QUEUE_CHANGED:
            name, queued, *_ = packet[1].split(b"\0")
            counts[name] = int(queued)
    peer.close()
    return counts.get(function, 0)


@pytest.fixture(params=["postgresql", "mysql"])
def cluster(
    request: pytest.FixtureRequest,
    database_of: Callable[[str], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
) -> Iterator[Cluster]:
    """A cluster without servers, on each kind of database."""
    cluster = Cluster(database_of(request.param), start_durable)
    yield cluster
    for server in cluster.servers:
        if server.process.poll() is None:
            server.signal(signal.SIGKILL)


@pytest.fixture
def pair(cluster: Cluster) -> tuple[ServerProcess, ServerProcess]:
    """Two servers of a cluster."""
    return cluster.start(), cluster.start()


def numbered(count: int, workload: bytes = b"w") -> list[bytes]:
    """The workloads of `submit`."""
    return [b"%s%d" % (workload, number) for number in itertools.islice(itertools.count(), count)]


Until = Callable[[Callable[[], Any]], None]
