"""Jobs that run while their server is killed: their workers go on with them, and another server takes the answers."""

from __future__ import annotations

import signal
import time

import pytest

from gearman_client.extensions import ORPHAN_RUNS, ORPHAN_WORK, ORPHANED_JOBS_OPTION, STORE_ID
from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, submit, waiting


def orphaned(peer: StreamPeer) -> bytes:
    """Switch the extension on; the id of the store."""
    peer.send(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)
    assert peer.receive() == (PacketType.OPTION_RES, ORPHANED_JOBS_OPTION)
    packet_type, store_id = peer.receive()
    assert packet_type == STORE_ID
    return store_id


def test_servers_of_a_cluster_have_one_store(pair: tuple[ServerProcess, ServerProcess]) -> None:
    first, second = (orphaned(server.peer()) for server in pair)
    assert first == second != b""


def test_a_running_job_of_a_killed_server_goes_on_and_its_answer_deletes_its_row(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    dead, living = pair
    marked, unmarked = submit(dead.peer(), 2)
    worker, other = dead.peer(), living.peer()
    assert grab(worker) == (marked, b"w0")
    until(lambda: (1,) in cluster.database.rows("state"))
    orphaned(other)
    dead.signal(signal.SIGKILL)
    other.send(ORPHAN_RUNS, marked, b"", b"1", b"1000")
    complete = encode_request(PacketType.WORK_COMPLETE, unmarked, b"")
    other.send(ORPHAN_WORK, unmarked, b"1", complete)  # as if its end had not been written
    until(lambda: waiting(living) == 1)
    until(lambda: cluster.database.rows("handle, state, requeues") == [(marked, 1, 0)])
    time.sleep(2)  # the wait for words is over then
    assert grab(living.peer()) is None
    other.send(ORPHAN_WORK, marked, b"1", encode_request(PacketType.WORK_COMPLETE, marked, b""))
    until(lambda: cluster.database.rows("handle") == [])
    living.wait_for_log("goes on with it")


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_a_job_whose_heir_is_killed_too_goes_on_still(cluster: Cluster, until: Until) -> None:
    first, second, third = (cluster.start() for _ in range(3))
    (handle,) = submit(first.peer(), 1)
    assert grab(first.peer()) == (handle, b"w0")
    until(lambda: cluster.database.rows("state") == [(1,)])
    peers = [second.peer(), third.peer()]
    for peer in peers:
        orphaned(peer)
    first.signal(signal.SIGKILL)
    until(lambda: waiting(second) + waiting(third) == 1)  # in doubt there, and its loss is written already
    heir, last = (second, third) if waiting(second) else (third, second)
    heir.signal(signal.SIGKILL)
    peers[[second, third].index(last)].send(ORPHAN_RUNS, handle, b"", b"1", b"0")
    until(lambda: waiting(last) == 1)
    until(lambda: cluster.database.rows("state, requeues") == [(1, 0)])
