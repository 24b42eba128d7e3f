"""Servers are replaced by those of another version, one after the other; and who may not share a store at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_server.errors import StartError
from gearman_server.sharing.ownership import SharedOwnership
from gearman_server.stores import ownership
from gearman_server.stores.backend import Backend
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url
from gearman_server.stores.settings import ClusterSettings

from ..server_process import ServerProcess
from .conftest import Cluster
from .test_histories import History, Place, submit_for_ever, workers

__all__ = ["workers"]

TABLES = ("gearman_jobs", "gearman_servers", "gearman_beats", "gearman_dead", "gearman_results", "gearman_schedules")


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_three_are_replaced_while_the_tables_grow_and_no_job_is_lost_or_runs_twice(
    cluster: Cluster, free_ports: Callable[[int], list[int]], workers: Callable[[int], Path], until: Callable[..., None]
) -> None:
    places = [Place(cluster, port, 0.0, 0) for port in free_ports(3)]
    for place in places:
        journal = workers(place.port)
    history = History(journal)
    is_over = threading.Event()
    threads = [
        threading.Thread(target=submit_for_ever, args=(place, str(at), history, is_over), daemon=True)
        for at, place in enumerate(places)
    ]
    for thread in threads:
        thread.start()
    try:
        for at, place in enumerate(places):
            enough = len(history.acknowledged) + 50
            until(lambda: len(history.acknowledged) > enough)  # noqa: B023
            place.server.signal(signal.SIGUSR1)
            place.begin_again()
            if at == 0:
                _grow(cluster)  # as a newer version does: two of the old one are there still, and another one follows
        enough = len(history.acknowledged) + 50
        until(lambda: len(history.acknowledged) > enough)
    finally:
        is_over.set()
    for thread in threads:
        thread.join()
    until(lambda: not history.acknowledged - history.runs().keys())
    until(lambda: cluster.database.rows("id") == [])
    history.check()
    assert len(cluster.ids()) == 3
    for place in places:
        place.server.signal(signal.SIGTERM)
        place.server.wait()
        place.proxy.close()
    logs = "".join(server.stderr.read().decode() for server in cluster.servers)
    assert "does not listen any more" not in logs, "one that ends in order is left in peace until it has written all"


def _grow(cluster: Cluster) -> None:
    """Within a minor version tables and columns are added, and nothing else."""
    for table in TABLES:
        cluster.database.execute(f"ALTER TABLE {table} ADD COLUMN of_a_newer_version INTEGER DEFAULT 7")
    cluster.database.execute("UPDATE gearman_store SET content = content::int + 1 WHERE name = 'version'")


def test_a_cluster_does_not_begin_on_a_store_that_a_server_alone_has(
    cluster: Cluster, start_durable: Callable[..., ServerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever version that has: the lock of its session is as old as stores are."""
    alone = start_durable(cluster.database)
    monkeypatch.setattr(ownership, "OWNER_PATIENCE_S", 0.3)

    def shared(backend: Backend, name: str) -> SharedOwnership:
        assert backend.sharing is not None
        return SharedOwnership(backend, backend.sharing, name, ClusterSettings("shop", 2.5))

    database = Database(parse_url(cluster.database.url), 5.0, shared)
    with pytest.raises(StartError, match=f"belongs to another gearman-server: process {alone.pid} on "):
        database.open()
    database.close()
    assert cluster.database.rows("content", "gearman_store WHERE name = 'cluster'") == []
