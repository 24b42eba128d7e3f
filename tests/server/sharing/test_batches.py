"""Batches of jobs in a cluster: filled over any server, counted wherever their jobs end, done once."""

from __future__ import annotations

import json
import signal
import urllib.request

import pytest

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, run_all, submit, waiting

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


def reaches(server: ServerProcess, *others: ServerProcess) -> bool:
    """Whether the server has links to the others: it can cancel their jobs."""
    handles = [submit(other.peer(), 1, function=b"other")[0] for other in others]
    return all(server.text(b"cancel job " + handle).startswith(b"OK") for handle in handles)


def gauge(url: str) -> int:
    """The open and closed batches, as the metrics tell."""
    with urllib.request.urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("gearman_batches ")).split()[1]))


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
    until(lambda: reaches(one, other))
    ended = facts(peer, END_BATCH, b"b", b"cancel")
    assert (ended[b"is_cancelled"], ended[b"cancelled"], ended[b"waiting"]) == (b"1", b"5", b"0")
    assert waiting(one) + waiting(other) == 0
    until(lambda: len(callbacks(cluster)) == 1)
    assert callbacks(cluster)[0]["cancelled"] == 5


@pytest.mark.parametrize("how", [b"cancel", b"stop"])
def test_an_operator_is_told_of_the_jobs_of_all_servers(cluster: Cluster, until: Until, how: bytes) -> None:
    one, other, stopped = (cluster.start() for _ in range(3))
    until(lambda: reaches(other, one, stopped) and reaches(one, other, stopped))
    facts(one.peer(), OPEN_BATCH, b"a b", b"")
    for server in (one, other, stopped):
        fill(server.peer(), 3, b"a b")
    assert other.text(b"jobs batch id=a%20b " + how) == b"OK 9\n"
    assert waiting(one) + waiting(other) + waiting(stopped) == 0
    assert one.text(b"jobs batch id=a%20b " + how) == b"OK 0\n"
    facts(one.peer(), OPEN_BATCH, b"b", b"")
    fill(one.peer(), 2)
    stopped.signal(signal.SIGSTOP)
    assert other.text(b"jobs batch b " + how) == b"OK 2\n", "nobody waits long for a server that does not answer"


def test_open_batches_have_bounds_and_are_counted_for_the_whole_cluster(cluster: Cluster, until: Until) -> None:
    one, other = cluster.start("--metrics-listen", "127.0.0.1:0"), cluster.start()
    url = f"http://{one.announced['metrics'][0]}/metrics"
    facts(one.peer(), OPEN_BATCH, b"b", b"")
    facts(other.peer(), OPEN_BATCH, b"c", b"")
    until(lambda: gauge(url) == 2)
    facts(other.peer(), CLOSE_BATCH, b"c")
    until(lambda: gauge(url) == 1)
    more = ", ".join(f"('{number:05}', 0, 0, 0, '', '', 0, 0, 0, 0, 0, 0)" for number in range(9_999))
    columns = "name, state, is_cancelled, opened_at, callbacks, unwritten, jobs"
    counts = "complete, failed, expired, cancelled, stopped"
    cluster.database.execute(f"INSERT INTO gearman_batches ({columns}, {counts}) VALUES {more}")
    assert facts(one.peer(), OPEN_BATCH, b"b", b"")[b"state"] == b"open", "it is there"
    kind, body = other.peer().ask(OPEN_BATCH, b"d", b"")
    assert (kind, body.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_BATCH")
    until(lambda: gauge(url) == 10_000)
    assert one.text(b"jobs batch b cancel") == b"OK 0\n"
    until(lambda: other.peer().ask(OPEN_BATCH, b"d", b"")[0] == BATCH)


def test_text_commands_see_all_batches(pair: Pair, until: Until) -> None:
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
    until(lambda: reaches(other, one))
    assert other.text(b"jobs batch b cancel") == b"OK 2\n"
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
