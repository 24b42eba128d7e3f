"""A job that is adopted brings along what belongs to it: cursor, attempts, time, expiry, options, unique key, chain."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gearman_client.extensions import CHECKPOINT, SUBMIT_JOB_WITH, WORK_FAILURE
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab

#: Nothing here depends on the kind of database.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)

Pair = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def pair(cluster: Cluster, tmp_path: Path) -> Pair:
    file = tmp_path / "policies.yaml"
    file.write_text("functions:\n  fails: {retries: 3, backoff: 0s}\n")
    return cluster.start("--policies", str(file)), cluster.start("--policies", str(file))


def submit_with(peer: StreamPeer, function: bytes, *pairs: bytes, unique: bytes = b"") -> bytes:
    packet_type, body = peer.ask(SUBMIT_JOB_WITH, function, unique, b"background=1", *pairs, b"", b"w")
    assert packet_type == PacketType.JOB_CREATED, body
    return body


def shown(server: ServerProcess, handle: bytes) -> dict[bytes, bytes]:
    """The fields of `jobs show`; none if the server has no such job."""
    peer = server.peer()
    peer.socket.sendall(b"jobs show %s\nversion\n" % handle)
    fields = {}
    with peer.socket.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b"OK "):  # the version
                break
            name, _, value = line.rstrip(b"\r\n").partition(b"\t")
            fields[name] = value
    peer.close()
    return fields if b"handle" in fields else {}


#: They are measured anew.
CHANGING = (b"since", b"submitted", b"not_before")


def without_changes(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if name not in CHANGING}


def test_it_brings_everything(cluster: Cluster, pair: Pair, until: Until) -> None:
    dead, living = pair
    peer, worker = dead.peer(), dead.peer()
    tagged = submit_with(peer, b"tagged", b"tag=t", b"key=k", b"header:a=1", b"timeout=7", unique=b"u")
    expiring = submit_with(peer, b"expiring", b"expires_in=3600")
    submit_with(peer, b"brief", b"expires_in=6")
    at = b"%d" % (int(time.time()) + 3600)
    delayed = peer.ask(PacketType.SUBMIT_JOB_EPOCH, b"later", b"", at, b"w")[1]
    failed = submit_with(peer, b"fails")
    for option in (b"job-attempt", b"job-options", b"job-failure", b"checkpoints"):
        worker.ask(PacketType.OPTION_REQ, option)
    worker.send(PacketType.CAN_DO, b"fails")
    worker.send(PacketType.GRAB_JOB)
    assert failed in worker.receive()[1]
    worker.send(CHECKPOINT, failed, b"half")
    worker.send(WORK_FAILURE, failed, b"fail", b"", b"", b"boom", b"")
    with_cursor = "gearman_jobs WHERE id IN (SELECT id FROM gearman_cursors)"
    until(lambda: cluster.database.rows("failures", with_cursor) == [(1,)])
    handles = tagged, expiring, delayed, failed
    before = [without_changes(shown(dead, handle)) for handle in handles]
    dead.signal(signal.SIGKILL)
    until(lambda: all(shown(living, handle) for handle in handles))
    after = [without_changes(shown(living, handle)) for handle in handles]
    assert after == before
    assert after[3][b"cursor"] == b"half"
    assert living.peer().ask(PacketType.SUBMIT_JOB_BG, b"tagged", b"u", b"") == (PacketType.JOB_CREATED, tagged)
    until(lambda: cluster.database.rows("id", "gearman_jobs WHERE function_name = 'brief'") == [])


def test_its_chain_goes_on(pair: Pair, until: Until) -> None:
    dead, living = pair
    submit_with(dead.peer(), b"first", b"then=" + encode_link(b"second"))
    dead.signal(signal.SIGKILL)
    worker = living.peer()
    worker.send(PacketType.CAN_DO, b"first")
    worker.send(PacketType.CAN_DO, b"second")
    jobs: list[tuple[bytes, bytes]] = []

    def run() -> bool:
        job = grab(worker, b"")
        if job is not None:
            jobs.append(job)
            worker.send(PacketType.WORK_COMPLETE, job[0], b"handed on")
        return len(jobs) == 2

    until(run)
    assert jobs[1][1] == b"handed on"
