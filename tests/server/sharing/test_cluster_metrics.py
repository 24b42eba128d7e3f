"""What an operator watches of a cluster."""

from __future__ import annotations

import signal
import urllib.request

import pytest

from ..server_process import ServerProcess
from .conftest import Cluster, Until, submit, waiting


def metrics(server: ServerProcess) -> dict[str, float]:
    """Samples by name and labels."""
    address = server.announced["metrics"][0]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_metrics_tell_of_the_servers_the_lease_and_what_was_adopted(cluster: Cluster, until: Until) -> None:
    living, dead = cluster.start("--metrics-listen", "127.0.0.1:0"), cluster.start()
    until(lambda: metrics(living)['gearman_cluster_servers{state="alive"}'] == 2)
    assert metrics(living)["gearman_cluster_lease_valid"] == 1
    assert metrics(living)["gearman_cluster_jobs_adopted_total"] == 0
    submit(dead.peer(), 3)
    dead.signal(signal.SIGKILL)
    until(lambda: waiting(living) == 3)
    until(lambda: metrics(living)['gearman_cluster_servers{state="alive"}'] == 1)
    assert metrics(living)["gearman_cluster_jobs_adopted_total"] == 3
    living.signal(signal.SIGSTOP)
    other = cluster.start()
    until(lambda: waiting(other) == 3)
    living.signal(signal.SIGCONT)
    until(lambda: metrics(living)["gearman_cluster_comebacks_total"] >= 1)


def test_what_all_servers_have_together_is_told_by_one_of_them(cluster: Cluster, until: Until) -> None:
    one, other = (cluster.start("--metrics-listen", "127.0.0.1:0") for _ in range(2))
    kept = {"gearman_dead_letters", "gearman_results", "gearman_results_bytes", "gearman_batches"}
    until(lambda: metrics(other)['gearman_cluster_servers{state="alive"}'] == 2)
    until(lambda: kept <= metrics(one).keys())
    assert kept.isdisjoint(metrics(other))
    one.signal(signal.SIGKILL)
    until(lambda: kept <= metrics(other).keys())
