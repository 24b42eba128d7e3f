"""Functions with `unique_scope: cluster`: the unique key of a background job holds for all servers of a cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, await_job, grab, run_all, waiting

Start = Callable[..., ServerProcess]
Pair = tuple[ServerProcess, ServerProcess]
FUNCTION = "functions:\n  f: {unique_scope: cluster, keep_result: 1h}\n"


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Start:
    """Starts a server whose function `f` has keys of the cluster."""

    def start(schedules: str = "{}") -> ServerProcess:
        file = tmp_path / "policies.yaml"
        file.write_text(f"{FUNCTION}schedules: {schedules}\n")
        return cluster.start("--policies", str(file))

    return start


@pytest.fixture
def pair(start: Start) -> Pair:
    """Two such servers."""
    return start(), start()


def background(peer: StreamPeer, unique: bytes = b"u", workload: bytes = b"w", function: bytes = b"f") -> bytes:
    """The handle of a background job."""
    packet_type, body = peer.ask(PacketType.SUBMIT_JOB_BG, function, unique, workload)
    assert packet_type == PacketType.JOB_CREATED, body
    return body


def finish(peer: StreamPeer, handle: bytes) -> None:
    peer.send(PacketType.WORK_COMPLETE, handle, b"")
    peer.sync()


def keys(cluster: Cluster) -> int:
    return len(cluster.database.rows("digest", "gearman_shared_keys"))


def test_a_key_is_that_of_one_job_until_that_has_ended(cluster: Cluster, pair: Pair, until: Until) -> None:
    one, other = pair
    handle = background(one.peer())
    asking = other.peer()
    assert background(asking) == handle
    assert background(asking, b"-", b"x") == background(one.peer(), b"-", b"x"), "the workload is the key"
    assert background(asking, b"-", b"y") != background(asking, b"-", b"x")
    assert background(asking, function=b"g") != background(one.peer(), function=b"g"), (
        "that function did not ask for it"
    )
    assert (waiting(one), waiting(other)) == (1, 2)
    worker = one.peer()
    assert grab(worker) == (handle, b"w")
    assert background(asking) == handle, "it runs"
    finish(worker, handle)
    until(lambda: keys(cluster) == 2)
    assert background(asking) not in (handle, b"")


def test_equal_keys_at_three_servers_at_once_make_one_job_each(cluster: Cluster, start: Start, until: Until) -> None:
    servers = [start() for _ in range(3)]
    handles: list[list[bytes]] = [[], [], []]

    def send(server: ServerProcess, into: list[bytes]) -> None:
        peer = server.peer()
        for number in range(40):
            peer.send(PacketType.SUBMIT_JOB_BG, b"f", b"%d" % number, b"%d" % number)
        into.extend(peer.receive()[1] for _ in range(40))

    threads = [threading.Thread(target=send, args=each) for each in zip(servers, handles, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handles[0] == handles[1] == handles[2]
    assert len(set(handles[0])) == 40
    ran = [workload for server in servers for workload in run_all(server.peer())]
    assert sorted(ran) == sorted(b"%d" % number for number in range(40))
    until(lambda: keys(cluster) == 0)


def test_no_submission_is_refused_while_the_same_keys_come_and_go_at_all_servers(
    cluster: Cluster, start: Start, until: Until
) -> None:
    servers = [start() for _ in range(3)]
    clients = [server.peer() for server in servers]
    workers = [server.peer() for server in servers]
    for round in range(25):
        numbers = range(round % 7, round % 7 + 15)
        for client in clients:
            for number in numbers:
                client.send(PacketType.SUBMIT_JOB_BG, b"f", b"%d" % number, b"")
        for worker in workers:
            run_all(worker)
        for client in clients:
            answers = {client.receive()[0] for _ in numbers}
            assert answers == {PacketType.JOB_CREATED}
    until(lambda: not any(map(run_all, workers)) and keys(cluster) == 0)
    assert cluster.database.rows("handle") == []


def test_equal_keys_during_a_failover(cluster: Cluster, pair: Pair, until: Until) -> None:
    dead, living = pair
    handles = [background(dead.peer(), b"%d" % number) for number in range(3)]
    runner = dead.peer()
    grab(runner)
    dead.signal(signal.SIGKILL)
    asking = living.peer()
    while waiting(living) < 3:  # from the death on until the living one has all of them
        assert [background(asking, b"%d" % number) for number in range(3)] == handles
    assert [background(asking, b"%d" % number) for number in range(3)] == handles
    assert run_all(living.peer(), 3) == [b"w"] * 3
    until(lambda: keys(cluster) == 0)
    assert background(asking, b"0") not in handles


def test_the_key_of_a_job_that_is_cancelled_stopped_or_begun_is_free(pair: Pair) -> None:
    one, other = pair
    worker = one.peer()
    asking = other.peer()
    for end in (b"cancel job ", b"stop job "):
        handle = background(one.peer())
        assert background(asking) == handle
        assert grab(worker) == (handle, b"w")
        assert one.text(end + handle).startswith(b"OK")
        later = background(asking)
        assert later != handle
        assert other.text(b"cancel job " + later).startswith(b"OK")
        finish(worker, handle)
    pairs = (b"background=1", b"unique_until=start", b"")
    until_start = one.peer().ask(SUBMIT_JOB_WITH, b"f", b"v", *pairs, b"w")[1]
    assert background(asking, b"v") == until_start
    assert grab(worker) == (until_start, b"w")
    assert await_other(asking, until_start) != until_start


def await_other(peer: StreamPeer, handle: bytes) -> bytes:
    """The handle of a new job, once the key is free: nobody waits for that to be written."""
    for _ in range(1000):
        answered = background(peer, b"v")
        if answered != handle:
            return answered
    return handle


def test_a_foreground_job_runs_whoever_has_its_key_and_a_key_is_not_lost_by_it(pair: Pair) -> None:
    one, other = pair
    handle = background(one.peer())
    client = other.peer()
    client.send(PacketType.SUBMIT_JOB, b"f", b"u", b"foreground")
    packet_type, foreground = client.receive()
    assert packet_type == PacketType.JOB_CREATED
    assert background(other.peer()) == handle, "it joins that job, and is then found to be the other server's"
    worker = other.peer()
    assert grab(worker) == (foreground, b"foreground")
    finish(worker, foreground)
    assert client.receive()[0] == PacketType.WORK_COMPLETE
    assert background(other.peer()) == handle
    assert run_all(one.peer()) == [b"w"]


def test_a_key_whose_job_is_gone_from_the_database_is_free(cluster: Cluster, pair: Pair) -> None:
    one, other = pair
    handle = background(one.peer())
    cluster.database.execute("DELETE FROM gearman_jobs")
    assert background(other.peer()) != handle


def test_the_runs_of_a_schedule_with_a_key_are_one_job_while_that_waits(
    cluster: Cluster, start: Start, until: Until
) -> None:
    schedules = "{tick: {every: 1s, function: f, workload: x, unique: u}}"
    one, other = start(schedules), start(schedules)
    read = "handled_until", "gearman_schedules"
    until(lambda: cluster.database.rows(*read))
    ((first,),) = cluster.database.rows(*read)
    until(lambda: cluster.database.rows(*read)[0][0] >= first + 2)
    assert waiting(one) + waiting(other) == 1
    assert len(cluster.database.rows("handle")) == 1
    owner = one if waiting(one) else other
    handle, _ = await_job(worker := owner.peer())
    finish(worker, handle)
    until(lambda: cluster.database.rows("handle") not in ([], [(handle,)]))
