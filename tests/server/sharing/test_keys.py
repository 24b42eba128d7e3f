"""Keys that are known in a whole cluster: a submission that is sent to another server again is one job."""

from __future__ import annotations

import signal
import threading

import pytest

from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, run_all, waiting

Pair = tuple[ServerProcess, ServerProcess]


def submit_with(peer: StreamPeer, *pairs: bytes, unique: bytes = b"", workload: bytes = b"w") -> bytes:
    """The handle of a background submission with options."""
    packet_type, body = peer.ask(SUBMIT_JOB_WITH, b"f", unique, b"background=1", *pairs, b"", workload)
    assert packet_type == PacketType.JOB_CREATED, body
    return body


def test_a_submission_that_is_sent_again_to_another_server_is_one_job(
    cluster: Cluster, pair: Pair, until: Until
) -> None:
    one, other = pair
    handle = submit_with(one.peer(), b"submission=s1")
    again = other.peer()
    assert submit_with(again, b"submission=s1") == handle
    assert submit_with(again, b"submission=s2") != handle
    assert (waiting(one), waiting(other)) == (1, 1)
    assert run_all(one.peer()) == [b"w"]
    assert submit_with(other.peer(), b"submission=s1") == handle, "it has ended, and is known"
    until(lambda: len(cluster.database.rows("handle")) == 1)


def test_of_equal_ids_sent_to_three_servers_at_once_each_is_one_job(cluster: Cluster) -> None:
    servers = [cluster.start() for _ in range(3)]
    handles: list[list[bytes]] = [[], [], []]

    def send(server: ServerProcess, into: list[bytes]) -> None:
        peer = server.peer()
        for number in range(40):
            peer.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"submission=%d" % number, b"", b"%d" % number)
        into.extend(peer.receive()[1] for _ in range(40))

    threads = [threading.Thread(target=send, args=pair) for pair in zip(servers, handles, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handles[0] == handles[1] == handles[2]
    assert len(set(handles[0])) == 40
    assert sorted(row[0] for row in cluster.database.rows("handle")) == sorted(handles[0])
    ran = [workload for server in servers for workload in run_all(server.peer())]
    assert sorted(ran) == sorted(b"%d" % number for number in range(40))


def test_an_id_outlives_the_server_that_took_it(pair: Pair, until: Until) -> None:
    dead, living = pair
    handle = submit_with(dead.peer(), b"submission=s1")
    dead.signal(signal.SIGKILL)
    assert submit_with(living.peer(), b"submission=s1") == handle
    until(lambda: run_all(living.peer()) == [b"w"])
    assert submit_with(living.peer(), b"submission=s1") == handle


def test_a_unique_key_with_unique_for_is_known_everywhere_while_its_job_lives_and_after(
    cluster: Cluster, pair: Pair, until: Until
) -> None:
    one, other = pair
    handle = submit_with(one.peer(), b"unique_for=3600", unique=b"u")
    assert submit_with(other.peer(), b"unique_for=3600", unique=b"u") == handle
    assert run_all(one.peer()) == [b"w"]
    assert submit_with(other.peer(), b"unique_for=3600", unique=b"u") == handle
    assert waiting(one) == waiting(other) == 0
    until(lambda: cluster.database.rows("id") == [])  # the end of the job is written with the time of its key
    cluster.database.execute("UPDATE gearman_shared_keys SET known_until = 1")
    assert submit_with(other.peer(), b"unique_for=3600", unique=b"u") != handle


def test_the_key_of_a_cancelled_job_is_free_again(pair: Pair) -> None:
    one, other = pair
    handle = submit_with(one.peer(), b"unique_for=3600", unique=b"u")
    assert one.text(b"cancel job " + handle).startswith(b"OK")
    second = submit_with(other.peer(), b"unique_for=3600", unique=b"u")
    assert second != handle
    worker = other.peer()
    assert (grab(worker) or (b"",))[0] == second
    assert other.text(b"cancel job " + second).startswith(b"OK"), "it runs"
    assert submit_with(one.peer(), b"unique_for=3600", unique=b"u") != second


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_the_keys_of_a_server_that_had_the_store_alone_are_known_in_the_cluster(cluster: Cluster) -> None:
    alone = cluster._start(cluster.database)
    handle = submit_with(alone.peer(), b"submission=s1")
    alone.signal(signal.SIGTERM)
    alone.wait()
    shared = cluster.start()
    assert submit_with(shared.peer(), b"submission=s1") == handle
