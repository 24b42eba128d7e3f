"""What goes wrong around a cluster that lives: nobody is declared dead who is not, no job is lost, none runs twice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from ..stores.proxy import Proxy
from .conftest import Cluster, Until, foreground, grab, numbered, run_all, startable, submit, waiting
from .own_postgresql import Node, begun, new_primary, own_folder

Pair = tuple[ServerProcess, ServerProcess]
only_postgresql = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)


def by_proxy(cluster: Cluster) -> tuple[Proxy, str]:
    """Another way to the cluster's database."""
    url = make_url(cluster.database.url)
    assert url.port is not None
    proxy = Proxy(url.port)
    return proxy, url.set(port=proxy.port).render_as_string(hide_password=False)


def test_a_database_that_is_away_for_all_declares_nobody_dead(cluster: Cluster, until: Until) -> None:
    proxy, url = by_proxy(cluster)
    one, other = cluster.start(url=url), cluster.start(url=url)
    submit(one.peer(), 3)
    submit(other.peer(), 3, workload=b"x")
    before = cluster.ids()
    proxy.cut()
    until(lambda: startable(one) == startable(other) == 0)
    proxy.heal()
    until(lambda: startable(one) == startable(other) == 3)
    assert run_all(one.peer()) == numbered(3)
    assert run_all(other.peer()) == numbered(3, b"x")
    assert cluster.ids() == before
    proxy.close()


def test_a_database_that_stalls_in_the_middle_and_goes_on(cluster: Cluster, until: Until) -> None:
    proxy, url = by_proxy(cluster)
    one, other = cluster.start(url=url), cluster.start(url=url)
    submit(one.peer(), 3)
    proxy.stall()
    until(lambda: startable(one) == 0)
    assert grab(one.peer()) is None
    proxy.heal()
    until(lambda: startable(one) == 3)
    worker = one.peer()
    until(lambda: waiting(one) + waiting(other) == 3)
    assert run_all(worker) + run_all(other.peer()) == numbered(3)
    proxy.close()


def test_a_server_that_stands_still_in_the_middle_of_a_batch_is_fenced_all_the_same(
    cluster: Cluster, pair: Pair, until: Until
) -> None:
    still, living = pair
    submit(still.peer(), 5)
    worker = still.peer()
    job = grab(worker)
    assert job is not None
    with cluster.database.connect() as connection, connection.begin():
        connection.execute(text("SELECT id FROM gearman_jobs FOR UPDATE"))
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
        until(lambda: cluster.waits_for_a_row())
        still.signal(signal.SIGSTOP)
    try:
        until(lambda: waiting(living) >= 4)
    finally:
        still.signal(signal.SIGCONT)
    still.wait_for_log("comes back as a new one")
    until(lambda: len(cluster.ids()) == 2)


def test_who_adopts_is_killed_while_it_adopts_and_the_third_has_all(cluster: Cluster, until: Until) -> None:
    dead, adopter, third = (cluster.start() for _ in range(3))
    submit(dead.peer(), 8000)
    third.signal(signal.SIGSTOP)  # so the second adopts alone
    dead.signal(signal.SIGKILL)
    until(lambda: waiting(adopter) > 0)
    adopter.signal(signal.SIGKILL)
    third.signal(signal.SIGCONT)
    until(lambda: waiting(third) == 8000)
    assert sorted(run_all(third.peer(), 8000)) == sorted(numbered(8000))


def test_rows_that_a_foreign_transaction_holds_are_adopted_once_it_ends(
    cluster: Cluster, pair: Pair, until: Until
) -> None:
    dead, living = pair
    handles = submit(dead.peer(), 10)
    with cluster.database.connect() as connection, connection.begin():
        number = int(handles[3].rpartition(b":")[2])
        connection.execute(text(f"SELECT id FROM gearman_jobs WHERE id = {number} FOR UPDATE"))
        dead.signal(signal.SIGKILL)
        until(lambda: waiting(living) == 9)
    until(lambda: waiting(living) == 10)


@only_postgresql
def test_clocks_an_hour_apart_change_nothing(cluster: Cluster, until: Until) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is missing (Debian: libfaketime)")
    clock = {"LD_PRELOAD": str(library), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ahead = cluster.start_with(clock)
    other = cluster.start()
    submit(ahead.peer(), 3)
    submit(other.peer(), 3, workload=b"x")
    lived = _fewest_beats(cluster) + 7  # more than a lease
    until(lambda: _fewest_beats(cluster) >= lived)
    assert len(cluster.ids()) == 2
    ahead.signal(signal.SIGKILL)
    until(lambda: waiting(other) == 6)


def _fewest_beats(cluster: Cluster) -> int:
    return min(int(row[0]) for row in cluster.database.rows("beat", "gearman_beats"))


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A PostgreSQL that the test may restart."""
    with own_folder() as folder, begun(Node(folder / "primary")):
        yield new_primary(folder)


def test_a_database_that_is_restarted_and_read_only_for_a_while(
    own_node: Node, start_durable: Callable[..., ServerProcess], until: Until
) -> None:
    cluster = Cluster(StoreDatabase(make_url(own_node.url)), start_durable)
    one, other = cluster.start(), cluster.start()
    submit(one.peer(), 3)
    submit(other.peer(), 3, workload=b"x")
    before = cluster.ids()
    own_node.end()
    own_node.begin()
    until(lambda: _takes_jobs(one) and _takes_jobs(other))
    own_node.ask("ALTER SYSTEM SET default_transaction_read_only = on")
    own_node.ask("SELECT pg_reload_conf()")
    one.wait_for_log("the lease is over")
    assert not _takes_jobs(one)
    foreground(one.peer(), one.peer())
    own_node.ask("ALTER SYSTEM RESET default_transaction_read_only")
    own_node.ask("SELECT pg_reload_conf()")
    until(lambda: _takes_jobs(one) and _takes_jobs(other))
    until(lambda: startable(one) >= 3 and startable(other) >= 3)  # the leases are valid again
    assert cluster.ids() == before
    assert [name for name in run_all(one.peer()) if name.startswith(b"w")] == numbered(3)
    assert [name for name in run_all(other.peer()) if name.startswith(b"x")] == numbered(3, b"x")


def _takes_jobs(server: ServerProcess) -> bool:
    return server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"more")[0] == PacketType.JOB_CREATED


def test_a_server_has_four_connections_to_the_database_at_most(cluster: Cluster) -> None:
    server, other = cluster.start(), cluster.start()
    submit(server.peer(), 100)
    for _ in range(20):
        other.peer().ask(PacketType.GET_STATUS, b"H:test:1")
    if cluster.database.kind == "postgresql":
        mine = "pg_stat_activity WHERE application_name = current_schema() AND pid <> pg_backend_pid()"
        assert len(cluster.database.rows("pid", mine)) <= 8
    else:
        mine = "information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        assert len(cluster.database.rows("id", mine)) <= 8
