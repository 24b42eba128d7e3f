"""Servers on hosts of their own, one of which the network cuts off: packets vanish, and no connection ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import make_url, text

from gearman_client.packet import PacketType

from ...hosts import Host, hosts
from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, foreground, grab, numbered, run_all, startable, submit, waiting

Three = tuple[Host, Host, Host]
#: Of those whose beats stay away.
SHORT_LEASE_S = 2.0


@pytest.fixture
def three(cluster: Cluster) -> Iterator[Sequence[Host]]:
    """Hosts for servers."""
    port = make_url(cluster.database.url).port
    assert port is not None
    with hosts(3, port) as made:
        yield made


def start_on(host: Host, cluster: Cluster, *options: str) -> ServerProcess:
    """Start a server of the cluster there."""
    with host.entered():
        server = cluster.start(*host.options, *options, url=host.way_to(cluster.database.url))
    server.connect = host.connect
    return server


def test_who_is_cut_from_the_database_alone_serves_foreground_jobs_and_gives_no_durable_one_out(
    cluster: Cluster, three: Three, until: Until
) -> None:
    cut, other = (start_on(host, cluster, "--lease", f"{SHORT_LEASE_S}") for host in three[:2])
    submit(cut.peer(), 5)
    three[0].cut("database")
    until(lambda: startable(cut) == 0)  # its lease is over
    assert grab(cut.peer()) is None
    foreground(cut.peer(), cut.peer())
    until(lambda: waiting(other) == 5)
    three[0].heal()
    assert run_all(other.peer(), 5) == numbered(5)
    cut.wait_for_log("comes back as a new one")
    until(lambda: len(cluster.ids()) == 2)
    assert run_all(cut.peer()) == []
    submit(cut.peer(), 1, workload=b"after")
    assert run_all(cut.peer()) == [b"after0"]


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_who_is_cut_from_the_peers_alone_or_from_the_workers_alone_lives_and_keeps_its_jobs(
    cluster: Cluster, three: Three, until: Until
) -> None:
    from_peers, from_workers, asked = (start_on(host, cluster) for host in three)
    handle, _ = submit(from_peers.peer(), 2)
    submit(from_workers.peer(), 3, workload=b"x")
    worker, lost, asking = from_peers.peer(), from_workers.peer(), asked.peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"4")
    until(lambda: _status(asking, handle) == [b"1", b"1", b"3", b"4"])
    job = grab(lost)
    assert job is not None
    until(lambda: sorted(row[0] for row in cluster.database.rows("state")) == [0, 0, 0, 1, 1])
    before = cluster.ids()
    three[0].cut("peers")
    three[1].cut("workers")
    lived = [beat + 7 for beat in _beats(cluster)]  # more than a lease
    asking.send(PacketType.GET_STATUS, handle)
    lost.send(PacketType.WORK_COMPLETE, job[0], b"")
    until(lambda: all(beat >= least for beat, least in zip(_beats(cluster), lived, strict=True)))
    assert cluster.ids() == before
    packet_type, body = asking.receive()
    assert packet_type == PacketType.STATUS_RES
    assert body.split(b"\0")[1:] == [b"1", b"1", b"0", b"0"], "it runs, and no more is known of it"
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert run_all(worker) == [b"w1"]
    until(lambda: sorted(row[0] for row in cluster.database.rows("state")) == [0, 0, 1])

    for host in three:
        host.heal()
    assert run_all(lost) == [b"x1", b"x2"]
    until(lambda: cluster.database.rows("id") == [])
    (handle,) = submit(from_peers.peer(), 1)
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"2")
    until(lambda: _status(asking, handle) == [b"1", b"1", b"1", b"2"])
    assert cluster.ids() == before


def _beats(cluster: Cluster) -> list[int]:
    return [row[0] for row in cluster.database.rows("beat", "gearman_beats ORDER BY id")]


def _status(peer: StreamPeer, handle: bytes) -> list[bytes]:
    """Whether the job is known, whether it runs, and its progress."""
    packet_type, body = peer.ask(PacketType.GET_STATUS, handle)
    assert packet_type == PacketType.STATUS_RES
    return body.split(b"\0")[1:]


def test_the_power_of_a_host_fails_in_the_middle_of_a_transaction(cluster: Cluster, three: Three, until: Until) -> None:
    """The database has a session that holds rows, and waits for a client that will never say anything."""
    dead, living = (start_on(host, cluster, "--lease", f"{SHORT_LEASE_S}") for host in three[:2])
    submit(dead.peer(), 5)
    worker = dead.peer()
    job = grab(worker)
    assert job is not None
    until(lambda: (1,) in cluster.database.rows("state"))
    with cluster.database.connect() as connection, connection.begin():
        connection.execute(text("SELECT id FROM gearman_jobs FOR UPDATE"))
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
        until(lambda: cluster.waits_for_a_row())
        three[0].cut("database", "peers", "workers")
        dead.signal(signal.SIGKILL)
        dead.wait()
    living.wait_for_log("is declared dead")
    until(lambda: waiting(living) == 5)
    assert cluster.owners() == {cluster.ids()[0]: 5}
