"""Kept results of a cluster: any server gives any result, and waits for jobs that other servers have."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import PacketType, encode_request

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


def status(server: ServerProcess, handle: bytes) -> list[bytes]:
    """Whether it is known and runs, and its progress."""
    return server.peer().ask(PacketType.GET_STATUS, handle)[1].split(b"\0")[1:]


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


def test_a_session_hears_of_the_job_of_another_server_as_it_goes(keeping: Pair, until: Until) -> None:
    owner, other = keeping
    worker, peer, late = owner.peer(), other.peer(), other.peer()
    (handle,) = submit(owner.peer(), 1)
    assert grab(worker) == (handle, b"w0")
    until(lambda: status(other, handle) == [b"1", b"1", b"0", b"0"])
    worker.send(PacketType.WORK_DATA, handle, b"first")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"3")
    until(lambda: status(other, handle) == [b"1", b"1", b"1", b"3"])  # so there is a link
    peer.send(GET_RESULT, handle, b"")
    assert peer.receive() == (PacketType.WORK_DATA, handle + b"\0first")
    assert peer.receive() == (PacketType.WORK_STATUS, handle + b"\0" + b"1\0" + b"3")
    late.send(GET_RESULT, handle, b"")
    assert late.receive() == (PacketType.WORK_STATUS, handle + b"\0" + b"1\0" + b"3")
    worker.send(PacketType.WORK_DATA, handle, b"second")
    worker.send(PacketType.WORK_STATUS, handle, b"2", b"3")
    assert peer.receive() == (PacketType.WORK_DATA, handle + b"\0second")
    for told in (peer, late):
        assert told.receive() == (PacketType.WORK_STATUS, handle + b"\0" + b"2\0" + b"3")
    worker.send(PacketType.WORK_COMPLETE, handle, b"done")
    assert peer.receive()[1].split(b"\0", 7)[:4] == [handle, b"complete", b"2", b"3"]
    assert [late.receive()[1] for _ in range(2)] == [handle + b"\0first", handle + b"\0second"]
    assert late.receive()[1].split(b"\0", 7)[1::6] == [b"complete", b"done"]
    peer.sync()


def test_a_wait_for_a_result_that_is_not_kept_is_answered_at_once(keeping: Pair, until: Until) -> None:
    owner, other = keeping
    (handle,) = submit(owner.peer(), 1, function=b"kept-nowhere")
    assert grab(owner.peer(), encode_request(PacketType.CAN_DO, b"kept-nowhere")) == (handle, b"w0")
    until(lambda: status(other, handle)[1] == b"1")
    assert result(other.peer(), handle, b"") == (b"not-kept", b"")


def test_a_wait_follows_a_job_from_its_dead_owner_to_the_one_that_adopts_it(
    cluster: Cluster, keeping: Pair, policies: str, until: Until
) -> None:
    owner, heir = keeping
    asked = cluster.start("--policies", policies)
    (handle,) = submit(owner.peer(), 1)
    until(lambda: status(asked, handle) == [b"1", b"0", b"0", b"0"])
    peer = asked.peer()
    peer.send(GET_RESULT, handle, b"")
    peer.sync()
    owner.signal(signal.SIGKILL)
    until(lambda: startable(heir) + startable(asked) == 1)
    worker = (heir if startable(heir) else asked).peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"3")
    assert peer.receive() == (PacketType.WORK_STATUS, handle + b"\0" + b"1\0" + b"3")
    worker.send(PacketType.WORK_COMPLETE, handle, b"done")
    assert peer.receive()[1].split(b"\0", 7)[1::6] == [b"complete", b"done"]


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
