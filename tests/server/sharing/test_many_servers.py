"""Many servers on one database: all start at once, several die at once. `make soak-cluster` has forty of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from sqlalchemy import make_url

from gearman_client import connect_admin

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from .conftest import Cluster, run_all, startable, submit, waiting
from .own_postgresql import Node, begun, new_primary, own_folder

SERVERS = int(os.environ.get("GEARMAN_CLUSTER_SERVERS", "8"))
#: At once: with more, each takes as long as a start may take.
STARTING = 8
#: Each has so many jobs.
JOBS = 50
#: An idle server has two beats a second, of two statements each, and now and then another: six statements at most.
MOST_STATEMENTS_PER_BEAT = 3.0
WATCHED_S = 2.0
#: So often at most.
PATIENCE_WATCHES = 4


@pytest.fixture
def node() -> Iterator[Node]:
    """A PostgreSQL that has as many connections as it takes."""
    with own_folder() as folder, begun(Node(folder / "primary")):
        yield new_primary(folder)


@pytest.mark.timeout(120 + 10 * SERVERS)
def test_all_start_at_once_and_a_quarter_dies_at_once(
    node: Node, start_durable: Callable[..., ServerProcess], until: Callable[..., None]
) -> None:
    cluster = Cluster(StoreDatabase(make_url(node.url)), start_durable)
    began_at = time.monotonic()
    with ThreadPoolExecutor(STARTING) as threads:
        servers = list(threads.map(lambda _: cluster.start("--lease", "10"), range(SERVERS)))
    started_s = time.monotonic() - began_at
    assert len(set(cluster.ids())) == SERVERS
    until(lambda: {_peers(server) for server in servers} == {SERVERS})
    expected = set()
    for number, server in enumerate(servers):
        submit(server.peer(), JOBS, workload=b"%d-" % number)
        expected |= {b"%d-%d" % (number, job) for job in range(JOBS)}
    rate = _statements_per_beat(node)
    assert max(_connections(server, node) for server in servers) <= 4

    dead, living = servers[: SERVERS // 4], servers[SERVERS // 4 :]
    for server in dead:
        server.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: sum(map(waiting, living)) == SERVERS * JOBS, within_s=60.0)
    adopted_s = time.monotonic() - killed_at
    assert sum(cluster.owners().values()) == SERVERS * JOBS
    assert max(_connections(server, node) for server in living) <= 4
    until(lambda: {_peers(server) for server in living} == {len(living)}, within_s=60.0)
    assert len(cluster.ids()) == len(living), "nobody else was declared dead"
    until(lambda: sum(map(startable, living)) == SERVERS * JOBS, within_s=60.0)
    ran = [workload for server in living for workload in run_all(server.peer())]
    assert sorted(ran) == sorted(expected)
    until(lambda: cluster.owners() == {})
    print(f"{SERVERS} servers: started in {started_s:.1f} s, {rate:.1f} statements a beat,", end=" ")
    print(f"the jobs of {len(dead)} adopted in {adopted_s:.1f} s")
    assert rate <= MOST_STATEMENTS_PER_BEAT


def _peers(server: ServerProcess) -> int:
    """How many servers it knows that live, itself included."""
    with connect_admin(server.address) as admin:
        return sum(each.state == "alive" for each in admin.servers())


def _connections(server: ServerProcess, node: Node) -> int:
    """How many connections to the database it has."""
    found = psutil.Process(server.pid).net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == node.port)


def _statements_per_beat(node: Node) -> float:
    """As the database logs them while nothing happens; the last submissions have something written for a while."""
    for _ in range(PATIENCE_WATCHES):
        rate = _watched_rate(node)
        if rate <= MOST_STATEMENTS_PER_BEAT:
            break
    return rate


def _watched_rate(node: Node) -> float:
    log = node.folder / "log"
    logged_bytes = log.stat().st_size
    _set(node, "SET log_statement = 'all'")
    time.sleep(WATCHED_S)
    _set(node, "RESET log_statement")
    lines = log.read_bytes()[logged_bytes:].splitlines()
    logged = [line for line in lines if b"LOG:  execute" in line or b"LOG:  statement" in line]
    statements = [line for line in logged if b"gearman_" in line]  # the others are ours
    return len(statements) / sum(b"UPDATE gearman_beats" in line for line in statements)


def _set(node: Node, what: str) -> None:
    node.ask(f"ALTER SYSTEM {what}")
    node.ask("SELECT pg_reload_conf()")
