"""Kept results of a cluster: any server gives any result, and waits for jobs that other servers have."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, startable, submit

Pair = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def policies(tmp_path: Path) -> str:
    file = tmp_path / "policies.yaml"
    file.write_text("functions:\n  f: {keep_result: 1h}\n  brief: {keep_result: 1s}\n")
    return str(file)


@pytest.fixture
def keeping(cluster: Cluster, policies: str) -> Pair:
    """Two servers whose function keeps its results."""
    return cluster.start("--policies", policies), cluster.start(
        "--policies", policies, "--metrics-listen", "127.0.0.1:0"
    )


def result(peer: StreamPeer, handle: bytes, wait_ms: bytes = b"0") -> tuple[bytes, bytes]:
    """State and content; the data before it is left out."""
    packet_type, body = peer.ask(GET_RESULT, handle, wait_ms)
    while packet_type == PacketType.WORK_DATA:
        packet_type, body = peer.receive()
    assert packet_type == RESULT, body
    asked, state, *_, content = body.split(b"\0", 7)
    assert asked == handle
    return state, content


def complete(worker: StreamPeer, function: bytes = b"f", content: bytes = b"done") -> None:
    """Run one job; its end is written when this returns."""
    worker.send(PacketType.CAN_DO, function)
    job = grab(worker, b"")
    assert job is not None
    worker.send(PacketType.WORK_DATA, job[0], b"part")
    worker.send(PacketType.WORK_COMPLETE, job[0], content)
    worker.sync()


def test_any_server_gives_the_result_of_any_job(keeping: Pair) -> None:
    owner, other = keeping
    (handle,) = submit(owner.peer(), 1)
    peer = other.peer()
    assert result(peer, handle) == (b"waiting", b"")
    complete(owner.peer())
    for server in keeping:
        data = server.peer()
        data.send(GET_RESULT, handle, b"")
        assert data.receive() == (PacketType.WORK_DATA, handle + b"\0part")
        _, final = data.receive()
        assert final.split(b"\0", 7)[1::6] == [b"complete", b"done"]
    assert result(peer, b"H:no:1") == (b"unknown", b"")
    with urllib.request.urlopen(f"http://{other.announced['metrics'][0]}/jobs/{handle.decode()}") as page:
        assert json.load(page)["result"] == "done"


def test_a_session_waits_for_the_job_of_another_server_and_goes_on_meanwhile(keeping: Pair, until: Until) -> None:
    owner, other = keeping
    first, second = submit(owner.peer(), 2)
    peer = other.peer()
    peer.send(GET_RESULT, first, b"")
    peer.send(PacketType.ECHO_REQ, b"behind")
    assert peer.receive() == (PacketType.ECHO_RES, b"behind")
    complete(owner.peer())
    assert peer.receive() == (PacketType.WORK_DATA, first + b"\0part")
    assert peer.receive()[1].split(b"\0", 7)[1::6] == [b"complete", b"done"]
    assert result(peer, second, b"300") == (b"waiting", b"")


def test_a_wait_goes_on_when_the_owner_dies_and_the_job_is_adopted(keeping: Pair, until: Until) -> None:
    owner, other = keeping
    (handle,) = submit(owner.peer(), 1)
    peer = other.peer()
    peer.send(GET_RESULT, handle, b"")
    peer.sync()
    owner.signal(signal.SIGKILL)
    until(lambda: startable(other) == 1)
    complete(other.peer())
    assert peer.receive() == (PacketType.WORK_DATA, handle + b"\0part")
    assert peer.receive()[1].split(b"\0", 7)[1::6] == [b"complete", b"done"]


def test_results_expire_whoever_kept_them(cluster: Cluster, keeping: Pair, until: Until) -> None:
    owner, other = keeping
    (handle,) = submit(owner.peer(), 1, function=b"brief")
    complete(owner.peer(), b"brief")
    until(lambda: result(other.peer(), handle)[0] == b"unknown")
    until(lambda: cluster.database.rows("id", "gearman_results") == [])


def test_the_bounds_hold_for_the_table_as_a_whole(cluster: Cluster, policies: str, until: Until) -> None:
    servers = [cluster.start("--policies", policies, "--results", "3") for _ in range(2)]
    handles = []
    for server in servers:
        handles += submit(server.peer(), 3)
        for _ in range(3):
            complete(server.peer())
    kept = "gearman_results ORDER BY ended_at"
    until(lambda: [row[0] for row in cluster.database.rows("handle", kept)] == handles[3:])
