"""Any server of a cluster answers for the jobs of the others; and it learns of a death by its link."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from gearman_client.extensions import PEER_HELLO, STOP_JOB
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import Cluster, Until, grab, submit, waiting

#: Nothing here depends on the kind of database.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)

Pair = tuple[ServerProcess, ServerProcess]


def status(server: ServerProcess, handle: bytes) -> list[bytes]:
    """Whether the job is known, whether it runs, numerator, denominator."""
    packet_type, body = server.peer().ask(PacketType.GET_STATUS, handle)
    assert packet_type == PacketType.STATUS_RES
    asked, *fields = body.split(b"\0")
    assert asked == handle
    return fields


def test_the_status_of_anothers_job_with_its_live_progress(pair: Pair, until: Until) -> None:
    owner, other = pair
    (handle,) = submit(owner.peer(), 1)
    assert status(other, handle) == [b"1", b"0", b"0", b"0"]
    worker = owner.peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"7")
    worker.sync()
    until(lambda: status(other, handle) == [b"1", b"1", b"3", b"7"])  # once there is a link
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    until(lambda: status(other, handle) == [b"0"] * 4)


def test_without_a_link_the_row_tells(cluster: Cluster, until: Until) -> None:
    owner, other = cluster.start("--announce", "127.0.0.1:1"), cluster.start()  # nobody listens there
    (handle,) = submit(owner.peer(), 1)
    assert status(other, handle) == [b"1", b"0", b"0", b"0"]
    worker = owner.peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"7")
    until(lambda: status(other, handle) == [b"1", b"1", b"0", b"0"])
    assert len(cluster.ids()) == 2, "a wrong address accuses nobody"


def test_answers_keep_the_order_of_their_requests(pair: Pair) -> None:
    owner, other = pair
    (handle,) = submit(owner.peer(), 1)
    peer = other.peer()
    peer.send(PacketType.GET_STATUS, handle)
    peer.send(PacketType.ECHO_REQ, b"behind")
    assert peer.receive()[0] == PacketType.STATUS_RES
    assert peer.receive() == (PacketType.ECHO_RES, b"behind")


def test_anothers_job_is_cancelled_and_stopped(cluster: Cluster, pair: Pair, until: Until) -> None:
    owner, other = pair
    first, second = submit(owner.peer(), 2)
    until(lambda: other.text(b"cancel job " + first) == b"OK\r\n")
    assert status(owner, first) == [b"0"] * 4
    assert other.text(b"cancel job " + first) == b"ERR UNKNOWN_JOB\r\n"
    assert other.peer().ask(STOP_JOB, second) == (STOP_JOB, second + b"\0cancelled")
    assert other.peer().ask(STOP_JOB, second) == (STOP_JOB, second + b"\0unknown")
    assert other.text(b"stop job %s %s" % (first, second)) == b"OK 0\n"
    until(lambda: cluster.owners() == {})


def test_a_killed_server_is_declared_dead_by_its_refusals(cluster: Cluster, until: Until) -> None:
    dead, living = cluster.start("--lease", "30"), cluster.start("--lease", "30")
    (handle,) = submit(dead.peer(), 1)
    worker = dead.peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"2")
    until(lambda: status(living, handle) == [b"1", b"1", b"1", b"2"])  # the link is there
    dead.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: waiting(living) == 1)
    assert time.monotonic() - killed_at < 10.0, "long before the end of the lease"


def test_a_server_that_finishes_its_jobs_is_left_in_peace_though_its_port_refuses(
    cluster: Cluster, pair: Pair, until: Until
) -> None:
    ending, other = pair
    (handle,) = submit(ending.peer(), 1)
    worker = ending.peer()
    assert grab(worker) == (handle, b"w0")
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"7")
    until(lambda: status(other, handle) == [b"1", b"1", b"1", b"7"])  # the link is there
    owners = cluster.owners()
    ending.signal(signal.SIGUSR1)
    ending.wait_for_log("ending gracefully")
    until(lambda: refuses(ending))
    worker.send(PacketType.WORK_STATUS, handle, b"2", b"7")
    until(lambda: status(other, handle) == [b"1", b"1", b"2", b"7"])
    assert cluster.owners() == owners
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert ending.wait() == 0
    until(lambda: cluster.owners() == {})
    assert waiting(other) == 0


def refuses(server: ServerProcess) -> bool:
    """Whether nobody can connect any more."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("word", [b"", b"guessed"])
def test_only_who_knows_the_word_is_a_peer(cluster: Cluster, word: bytes) -> None:
    server = cluster.start()
    (number,) = cluster.ids()
    packet_type, body = server.peer().ask(PEER_HELLO, b"%d" % number, word)
    assert packet_type == PacketType.ERROR
    assert body.startswith(b"NOT_A_PEER\0")
