"""A cluster of servers on a Galera cluster, each with a node of its own: all nodes write."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.engine import make_url

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from .conftest import Cluster, numbered, run_all, startable, submit
from .own_galera import galera_cluster

_EACH = 100


def test_servers_on_three_nodes_of_which_a_server_and_then_a_node_is_killed(
    start_durable: Callable[..., ServerProcess], until: Callable[..., None]
) -> None:
    with galera_cluster() as nodes:
        cluster = Cluster(StoreDatabase(make_url(nodes[0].url)), start_durable)
        one, two, three = (cluster.start(url=node.url) for node in nodes)
        with ThreadPoolExecutor() as threads:
            sent = {one: b"a", two: b"b", three: b"c"}
            list(threads.map(lambda item: submit(item[0].peer(), _EACH, workload=item[1]), sent.items()))
        one.signal(signal.SIGKILL)
        until(lambda: startable(two) + startable(three) == 3 * _EACH)

        nodes[1].kill()
        until(lambda: startable(three) == 3 * _EACH, 20.0)  # Galera waits for the node, and then the lease has to end
        two.signal(signal.SIGKILL)
        anew = cluster.start(url=nodes[0].url)
        submit(anew.peer(), 3)
        assert sorted(run_all(anew.peer())) == numbered(3)
        expected = [name for letter in sent.values() for name in numbered(_EACH, letter)]
        assert sorted(run_all(three.peer(), 3 * _EACH)) == sorted(expected)
