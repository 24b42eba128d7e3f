"""QUEUE_ERROR means that the job has not run and never will, whatever happens to the database meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from sqlalchemy import make_url, text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import DEADLINE_S, StreamPeer
from .conftest import StoreDatabase
from .proxy import Proxy

BACKGROUND = PacketType.SUBMIT_JOB_BG
CREATED = PacketType.JOB_CREATED
TIMEOUT_S = 0.6
PORTS = {"postgresql": 5432, "mysql": 3306}


class FastPool(threading.Thread):
    """A worker that is idle when a job comes, and does it at once."""

    def __init__(self, peer: StreamPeer) -> None:
        super().__init__(daemon=True)
        self._peer = peer
        #: How often each workload has run.
        self.ran: Counter[bytes] = Counter()
        self.start()

    def run(self) -> None:
        peer = self._peer
        peer.socket.settimeout(None)
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.send(PacketType.CAN_DO, b"f")
        with contextlib.suppress(OSError):  # the server was killed
            while True:
                packet_type, body = peer.ask(PacketType.GRAB_JOB)
                if packet_type == PacketType.NO_JOB:
                    peer.ask(PacketType.PRE_SLEEP)
                    continue
                handle, _, workload = body.split(b"\0", 2)
                self.ran[workload] += 1
                peer.send(PacketType.WORK_COMPLETE, handle, b"")


class Clients:
    """Clients that submit one job after the other, each with a workload of its own, and remember the answers."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._numbers = count()
        self._is_told_to_stop = threading.Event()
        self.acknowledged: set[bytes] = set()
        self.refused: set[bytes] = set()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(6)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        peer = self._server.peer()
        while not self._is_told_to_stop.is_set():
            self.submit(peer)

    def submit(self, peer: StreamPeer) -> None:
        number = next(self._numbers)
        workload = b"%d" % number
        workloads = [workload]
        if number % 5 == 4:  # with a twin that may join it
            workloads.append(workload + b" again")
            for each in workloads:
                peer.send(BACKGROUND, b"f", b"u%d" % number, each)
        elif number % 5 == 3:
            peer.send(PacketType.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"sum", b"", workload)
        elif number % 5 == 2:
            peer.send(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"1", workload)
        else:
            peer.send(BACKGROUND, b"f", b"", workload)
        for each in workloads:
            packet_type, body = peer.receive()
            if packet_type != CREATED:
                assert body.startswith(b"QUEUE_ERROR\0")
                self.refused.add(each)
            elif each == workload:
                self.acknowledged.add(each)

    def stop(self) -> None:
        self._is_told_to_stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def proxy_to() -> Iterator[Callable[[StoreDatabase], tuple[Proxy, str]]]:
    """`proxy_to(database)`: a way to the database that can be cut, and the URL of the database by that way."""
    proxies = []

    def make(database: StoreDatabase) -> tuple[Proxy, str]:
        url = make_url(database.url)
        proxy = Proxy(url.port or PORTS[database.kind])
        proxies.append(proxy)
        return proxy, url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)

    yield make
    for proxy in proxies:
        proxy.close()


def refused_have_not_run(
    server: ServerProcess,
    database: StoreDatabase,
    pool: FastPool,
    clients: Clients,
    restart: Callable[[], ServerProcess],
) -> None:
    """Compare what the clients were told with what has run, also after the server was killed and started again."""
    clients.stop()
    server.process.kill()
    server.process.wait()
    pool.join(20)
    later, deadline = FastPool(restart().peer()), time.monotonic() + DEADLINE_S
    while database.rows("id"):
        assert time.monotonic() < deadline
    ran = pool.ran + later.ran
    assert clients.refused
    assert not clients.refused & set(ran)
    assert clients.acknowledged <= set(ran)


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_refused_job_has_not_run_though_the_pool_is_idle_when_the_database_goes_away(
    kind: str,
    fault: str,
    database_of: Callable[[str], StoreDatabase],
    proxy_to: Callable[[StoreDatabase], tuple[Proxy, str]],
    start_server: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database = database_of(kind)
    proxy, url = proxy_to(database)
    options = ("--store-timeout", str(TIMEOUT_S), "--verbose", "NOTICE")
    server = start_server("--store", url, *options)
    pool, clients = FastPool(server.peer()), Clients(server)
    for _ in range(2):
        more = len(clients.acknowledged) + 200
        until(lambda: len(clients.acknowledged) > more)  # noqa: B023 - called at once
        getattr(proxy, fault)()
        client, refused = server.peer(), len(clients.refused)
        while len(clients.refused) < refused + 3:
            clients.submit(client)
        proxy.heal()
        server.wait_for_log("NOTICE the store can be written again")
    refused_have_not_run(server, database, pool, clients, lambda: start_server("--store", database.url, *options))


def test_a_refused_job_has_not_run_though_the_pool_is_idle_when_sqlite_is_locked(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database, "--store-timeout", str(TIMEOUT_S))
    pool, clients = FastPool(server.peer()), Clients(server)
    for _ in range(2):
        more = len(clients.acknowledged) + 200
        until(lambda: len(clients.acknowledged) > more)  # noqa: B023 - called at once
        refused = len(clients.refused)
        with database.connect() as connection:
            connection.execute(text("BEGIN IMMEDIATE"))
            until(lambda: len(clients.refused) > refused)  # noqa: B023 - called at once
            connection.rollback()
        server.wait_for_log("NOTICE the store can be written again")
    refused_have_not_run(server, database, pool, clients, lambda: start_durable(database))


def test_a_background_job_by_http_that_is_refused_has_not_run(
    database_of: Callable[[str], StoreDatabase],
    proxy_to: Callable[[StoreDatabase], tuple[Proxy, str]],
    start_server: Callable[..., ServerProcess],
) -> None:
    proxy, url = proxy_to(database_of("postgresql"))
    server = start_server("--store", url, "--store-timeout", "0.4", "-r", "http", "--http-port", "0")
    pool = FastPool(server.peer())
    proxy.cut()
    assert server.peer().ask(BACKGROUND, b"waits", b"", b"w")[0] == PacketType.ERROR
    refused = set()
    with contextlib.closing(http.client.HTTPConnection(server.announced["http"][0], timeout=20)) as connection:
        for number in range(10):
            workload = b"%d" % number
            connection.request("POST", "/f", workload, {"X-Gearman-Background": "true"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 503:
                refused.add(workload)
    assert refused
    proxy.heal()
    server.peer().sync()
    assert not refused & set(pool.ran)
