"""The database fails over to a standby that lacks what was committed last: the servers write it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from ..stores.proxy import Proxy
from .conftest import Cluster, Until, grab, run_all, submit, waiting
from .own_postgresql import Node, begun, new_primary, own_folder


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """A primary and its standby."""
    with own_folder() as folder, begun(Node(folder / "primary"), standby := Node(folder / "standby")):
        primary = new_primary(folder)
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        primary.run("pg_basebackup", "-D", str(standby.folder), "-R", "-c", "fast", "--no-sync", "-d", source)
        standby.begin()
        yield primary, standby


def test_what_a_standby_lacks_is_written_again_and_what_has_ended_is_not_run_again(
    nodes: tuple[Node, Node], start_durable: Callable[..., ServerProcess], until: Until
) -> None:
    primary, standby = nodes
    proxy = Proxy(primary.port)
    database = StoreDatabase(make_url(standby.url))
    cluster = Cluster(database, start_durable)
    by_proxy = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres"
    one = cluster.start("--lease", "20", url=by_proxy)
    other = cluster.start("--lease", "20", url=by_proxy)
    submit(one.peer(), 10)
    until(lambda: standby.ask("SELECT to_regclass('gearman_jobs') IS NOT NULL") is True)
    until(lambda: standby.ask("SELECT count(*) FROM gearman_jobs") == 10)
    standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
    standby.ask("SELECT pg_reload_conf()")
    until(lambda: standby.ask("SELECT count(*) FROM pg_stat_wal_receiver") == 0)
    submit(one.peer(), 5, workload=b"late")
    submit(other.peer(), 5, workload=b"other")
    worker = one.peer()
    for _ in range(2):
        job = grab(worker)
        assert job is not None
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
    until(lambda: primary.ask("SELECT count(*) FROM gearman_jobs") == 18)
    primary.end()
    proxy.cut()
    standby.run("pg_ctl", "-D", str(standby.folder), "-w", "promote")
    proxy.retarget(standby.port)
    one.wait_for_log("are written again")
    other.wait_for_log("are written again")
    until(lambda: standby.ask("SELECT count(*) FROM gearman_jobs") == 18)
    submit(one.peer(), 1, workload=b"new")
    assert waiting(one) + waiting(other) == 19
    ran = sorted(run_all(one.peer()) + run_all(other.peer()))
    expected = [*(b"w%d" % number for number in range(2, 10)), *(b"late%d" % number for number in range(5))]
    assert ran == sorted([*expected, *(b"other%d" % number for number in range(5)), b"new0"])
    until(lambda: standby.ask("SELECT count(*) FROM gearman_jobs") == 0)
