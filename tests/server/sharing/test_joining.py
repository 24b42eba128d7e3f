"""Which servers may share a store, and how a store of one server becomes that of a cluster."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from .conftest import Cluster, Until, numbered, run_all, startable, submit, waiting


def test_the_jobs_of_a_store_with_one_server_are_the_clusters(
    cluster: Cluster, start_durable: Callable[..., ServerProcess], until: Until
) -> None:
    alone = start_durable(cluster.database)
    submit(alone.peer(), 3)
    alone.signal(signal.SIGTERM)
    alone.wait()
    first, second = cluster.start(), cluster.start()
    until(lambda: waiting(first) + waiting(second) == 3)
    heir = first if waiting(first) else second
    assert run_all(heir.peer(), 3) == numbered(3)


def test_a_server_that_does_not_share_is_refused_by_a_store_that_is_shared(
    cluster: Cluster, start_durable: Callable[..., ServerProcess]
) -> None:
    cluster.start()
    with pytest.raises(RuntimeError, match="is shared by the servers of the cluster shop; start this one with"):
        start_durable(cluster.database)


def test_a_server_of_a_version_without_clusters_finds_a_store_that_is_too_new(cluster: Cluster) -> None:
    """It knows nothing of the name of a cluster, and versions up to 4: it says so, and ends."""
    cluster.start()
    ((version,),) = cluster.database.rows("content", "gearman_store WHERE name = 'version'")
    assert int(version) > 4


def test_a_cluster_of_another_name_is_refused(cluster: Cluster, start_durable: Callable[..., ServerProcess]) -> None:
    cluster.start()
    with pytest.raises(RuntimeError, match="belongs to the cluster shop; start this server with --cluster shop"):
        start_durable(cluster.database, "--cluster", "shoe")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "jobs in memory can't be shared: --store postgresql"),
        (("--store", "sqlite:///FOLDER/jobs.db"), "a SQLite file has one server: --store postgresql"),
        (
            ("--store", "postgresql+psycopg://nobody@127.0.0.1:1/none", "--announce", "a:b:1"),
            "--announce: 'a:b:1' is not an address",
        ),
        (("--lease", "0.5"), "0.5 is not in the range 1.5<=x<=60"),
    ],
)
def test_what_can_not_be_shared_is_refused_in_a_sentence(
    options: tuple[str, ...], words: str, run_command: Callable[..., object], tmp_path: Path
) -> None:
    given = [option.replace("FOLDER", str(tmp_path)) for option in options]
    ended = run_command("--cluster", "shop", *given)
    assert ended.returncode == 1  # type: ignore[attr-defined]
    assert re.search(re.escape(words), ended.stderr)  # type: ignore[attr-defined]
    assert len(ended.stderr.splitlines()) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_servers_behind_a_pooler_of_transactions_share_a_store(
    pooled: tuple[StoreDatabase, str], start_durable: Callable[..., ServerProcess], until: Until
) -> None:
    database, url = pooled
    cluster = Cluster(database, start_durable)
    first, second = cluster.start(url=url), cluster.start(url=url)
    submit(first.peer(), 700)
    first.signal(signal.SIGKILL)
    until(lambda: startable(second) == 700)
    assert run_all(second.peer()) == numbered(700)
