"""A cluster of servers on a Galera cluster, each with a node of its own: all nodes write."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.engine import make_url

from ..server_process import ServerProcess
from ..stores.conftest import StoreDatabase
from ..stores.proxy import Proxy
from .conftest import Cluster, numbered, run_all, startable, submit
from .own_galera import GaleraNode, galera_cluster
from .test_guide import commands_in

_EACH = 100


def test_servers_on_three_nodes_of_which_a_server_and_then_a_node_is_killed(
    start_durable: Callable[..., ServerProcess], start_server: Callable[..., ServerProcess], until: Callable[..., None]
) -> None:
    """Two are started by the commands of docs/cluster.md. Another one has a proxy, as that page advises."""
    with galera_cluster() as nodes:
        cluster = Cluster(StoreDatabase(make_url(nodes[0].url)), start_durable)
        one, two = (start_server(*options) for options in _documented(nodes))
        three = cluster.start(url=nodes[2].url)
        proxy = Proxy(3306, host=nodes[1].address)
        by_proxy = cluster.start(url=make_url(nodes[1].url).set(host="127.0.0.1", port=proxy.port).render_as_string())
        ids = cluster.ids()
        with ThreadPoolExecutor() as threads:
            sent = {one: b"a", two: b"b", three: b"c", by_proxy: b"d"}
            list(threads.map(lambda item: submit(item[0].peer(), _EACH, workload=item[1]), sent.items()))
        one.signal(signal.SIGKILL)
        until(lambda: startable(two) + startable(three) + startable(by_proxy) == 4 * _EACH)

        nodes[1].kill()
        proxy.retarget(3306, nodes[2].address)
        # Galera waits for the node, and then the lease has to end.
        until(lambda: startable(three) + startable(by_proxy) == 4 * _EACH, 20.0)
        assert cluster.ids() == [ids[2], ids[3]], "the one with a proxy goes on as the one that it was"
        two.signal(signal.SIGKILL)
        anew = cluster.start(url=nodes[0].url)
        submit(anew.peer(), 3)
        assert sorted(run_all(anew.peer())) == numbered(3)
        expected = [name for letter in sent.values() for name in numbered(_EACH, letter)]
        assert sorted(run_all(three.peer()) + run_all(by_proxy.peer())) == sorted(expected)
        proxy.close()


def _documented(nodes: Sequence[GaleraNode]) -> Iterator[list[str]]:
    """The options of the commands, with the addresses of these nodes."""
    for command, node in zip(commands_in("### With Galera"), nodes, strict=False):
        assert command[:2] == ["gearman-server", "--store"]
        yield ["--store", node.url, *command[3:], "--job-handle-prefix", "H:test", "--verbose", "NOTICE"]
