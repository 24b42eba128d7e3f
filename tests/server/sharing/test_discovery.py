"""Who knows one server of a cluster gets to know the others: the text command `servers`, and the extension."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Callable

from gearman_client import ClusterServer, connect_admin
from gearman_client.connection.cluster_servers import parse_servers
from gearman_client.extensions import SERVERS
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until

OPTION = b"servers"


def told(peer: StreamPeer) -> dict[str, str]:
    """The states of the servers by their addresses, as the next packet tells."""
    packet_type, table = peer.receive()
    assert packet_type == SERVERS
    return {server.address: server.state for server in parse_servers(table)}


def told_until(peer: StreamPeer, states: dict[str, str]) -> None:
    """Read until these are the servers; a server that has died may be listed for a moment."""
    while told(peer) != states:
        pass


def test_a_subscriber_hears_of_servers_that_join_die_and_leave(cluster: Cluster) -> None:
    first = cluster.start()
    watcher = first.peer()
    assert watcher.ask(PacketType.OPTION_REQ, OPTION) == (PacketType.OPTION_RES, OPTION)
    assert told(watcher) == {first.address: "alive"}
    second, third = cluster.start(), cluster.start()
    told_until(watcher, {server.address: "alive" for server in cluster.servers})
    second.signal(signal.SIGKILL)
    told_until(watcher, {first.address: "alive", third.address: "alive"})
    third.signal(signal.SIGTERM)
    told_until(watcher, {first.address: "alive"})


def test_an_administrator_sees_the_servers(pair: tuple[ServerProcess, ServerProcess], until: Until) -> None:
    first, second = pair
    with connect_admin(second.address) as admin:
        until(lambda: len(admin.servers()) == 2)
        servers, version = admin.servers(), admin.version()
    assert [(each.address, each.name, each.is_this) for each in servers] == [
        (first.address, f"{platform.node()} {first.address}", False),
        (second.address, f"{platform.node()} {second.address}", True),
    ]
    assert servers[0].id < servers[1].id
    assert {each.version for each in servers} == {version}
    command = [sys.executable, "-m", "gearman_client.commands.gearadmin", "-h", second.address, "--servers"]
    shown = subprocess.run([*command, "--json"], capture_output=True, check=True).stdout
    assert [(each["address"], each["state"]) for each in json.loads(shown)["servers"]] == [
        (server.address, "alive") for server in pair
    ]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert lines[1] == f"{servers[1].id}\t{platform.node()} {second.address}\t{second.address}\t{version}\talive\t1"
    assert lines[2:] == ["."]


def test_a_server_without_a_cluster_is_alone(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with connect_admin(server.address) as admin:
        alone = ClusterServer(
            0, f"{platform.node()} {server.address}", server.address, admin.version(), "alive", is_this=True
        )
        assert admin.servers() == [alone]
    peer = server.peer()
    assert peer.ask(PacketType.OPTION_REQ, OPTION) == (PacketType.OPTION_RES, OPTION)
    packet_type, table = peer.receive()
    assert (packet_type, list(parse_servers(table))) == (SERVERS, [alone])
