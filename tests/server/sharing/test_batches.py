"""Batches of jobs in a cluster: filled over any server, counted wherever their jobs end, done once."""

from __future__ import annotations

import json
import signal

import pytest

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, run_all, waiting

Pair = tuple[ServerProcess, ServerProcess]
CALLBACK = b"on_complete=" + encode_link(b"done")


def facts(peer: StreamPeer, packet_type: int, *arguments: bytes) -> dict[bytes, bytes]:
    """The pairs of BATCH."""
    kind, body = peer.ask(packet_type, *arguments)
    assert kind == BATCH, body
    return dict(pair.split(b"=", 1) for pair in body.split(b"\0")[1:])


def fill(peer: StreamPeer, count: int, batch: bytes = b"b") -> None:
    for number in range(count):
        peer.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=" + batch, b"", b"%d" % number)
    for _ in range(count):
        assert peer.receive()[0] == PacketType.JOB_CREATED


def callbacks(cluster: Cluster) -> list[dict[str, object]]:
    """The workloads of the callbacks that are queued."""
    rows = cluster.database.rows("workload, function_name")
    return [json.loads(workload) for workload, function in rows if bytes(function) == b"done"]


def test_a_batch_is_filled_and_ends_over_two_servers(cluster: Cluster, pair: Pair, until: Until) -> None:
    one, other = pair
    first, second = one.peer(), other.peer()
    opened = facts(first, OPEN_BATCH, b"b", CALLBACK)
    assert (opened[b"state"], opened[b"jobs"]) == (b"open", b"0")
    assert facts(second, OPEN_BATCH, b"b", CALLBACK)[b"state"] == b"open", "the same again"
    assert second.ask(OPEN_BATCH, b"b", b"on_success=" + encode_link(b"x"))[0] == PacketType.ERROR
    fill(first, 3)
    fill(second, 2)
    assert facts(second, CLOSE_BATCH, b"b")[b"state"] == b"closed"
    refused = first.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=b", b"", b"late")
    assert refused == (PacketType.ERROR, b"INVALID_BATCH\0there is no open batch of this id")
    assert len(run_all(one.peer())) == 3
    assert facts(second, GET_BATCH, b"b")[b"waiting"] in (b"2", b"5")
    assert callbacks(cluster) == []
    assert len(run_all(other.peer())) == 2
    until(lambda: len(callbacks(cluster)) == 1)
    assert callbacks(cluster) == [
        {
            "batch": "b",
            "jobs": 5,
            "complete": 5,
            "failed": 0,
            "expired": 0,
            "cancelled": 0,
            "stopped": 0,
            "success": True,
        }
    ]
    until(lambda: facts(first, GET_BATCH, b"b")[b"state"] == b"done")
    assert waiting(one, b"done") + waiting(other, b"done") == 1
    assert other.text(b"jobs batch b close") in (b"OK\r\n",)


def test_the_callback_comes_once_though_the_server_that_opened_the_batch_dies(cluster: Cluster, until: Until) -> None:
    dead, *living = (cluster.start() for _ in range(3))
    peer = dead.peer()
    facts(peer, OPEN_BATCH, b"b", CALLBACK)
    fill(peer, 40)
    facts(peer, CLOSE_BATCH, b"b")
    dead.signal(signal.SIGKILL)
    ran: list[bytes] = []

    def run() -> bool:
        for server in living:
            ran.extend(run_all(server.peer()))
        return len(ran) == 40

    until(run)
    until(lambda: len(callbacks(cluster)) == 1)
    assert callbacks(cluster)[0]["jobs"] == callbacks(cluster)[0]["complete"] == 40
    until(lambda: sum(waiting(server, b"done") for server in living) == 1)


def test_a_cancelled_batch_ends_everywhere(cluster: Cluster, pair: Pair, until: Until) -> None:
    one, other = pair
    peer = one.peer()
    facts(peer, OPEN_BATCH, b"b", b"on_failure=" + encode_link(b"done"))
    fill(peer, 2)
    fill(other.peer(), 3)
    assert facts(peer, END_BATCH, b"b", b"cancel")[b"is_cancelled"] == b"1"
    until(lambda: len(callbacks(cluster)) == 1)
    assert callbacks(cluster)[0]["cancelled"] == 5
    assert waiting(other) == 0


def test_text_commands_see_all_batches(pair: Pair) -> None:
    one, other = pair
    peer = one.peer()
    for name in (b"a", b"b", b"c"):
        facts(peer, OPEN_BATCH, name, b"")
    fill(peer, 2, b"b")
    listed = other.peer()
    listed.socket.sendall(b"jobs batches limit=2\n")
    with listed.socket.makefile("rb") as lines:
        rows = [lines.readline().split(b"\t") for _ in range(4)]
        assert [row[0] for row in rows] == [b"a", b"b", b"next", b".\n"]
        listed.socket.sendall(b"jobs batches after=%s\n" % rows[2][1].strip())
        assert lines.readline().split(b"\t")[0] == b"c"
        assert lines.readline() == b".\n"
        listed.socket.sendall(b"jobs batch b\n")
        shown = dict(lines.readline().strip().split(b"\t") for _ in range(4))
        assert (shown[b"jobs"], shown[b"waiting"]) == (b"2", b"2")
    assert other.text(b"jobs batch b cancel") == b"OK 0\n"
    assert other.text(b"jobs batch none close").startswith(b"ERR UNKNOWN_BATCH")


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_the_batches_of_a_server_that_had_the_store_alone_go_on(cluster: Cluster, until: Until) -> None:
    alone = cluster._start(cluster.database)
    peer, worker = alone.peer(), alone.peer()
    facts(peer, OPEN_BATCH, b"b", CALLBACK)
    fill(peer, 3)
    job = grab(worker)
    assert job is not None
    worker.send(PacketType.WORK_COMPLETE, job[0], b"")
    worker.sync()
    alone.signal(signal.SIGTERM)
    alone.wait()
    shared = cluster.start()
    facts(shared.peer(), CLOSE_BATCH, b"b")
    until(lambda: len(run_all(shared.peer())) == 2)
    until(lambda: len(callbacks(cluster)) == 1)
    assert callbacks(cluster)[0]["complete"] == 3
