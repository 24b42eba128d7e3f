"""A server that was declared dead and comes back hands on what its workers say of jobs that are others' now."""

from __future__ import annotations

import signal

import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, await_job, grab, startable, submit, waiting

#: The databases make no difference.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)


@pytest.fixture
def running(cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until) -> tuple[StreamPeer, bytes]:
    """A worker that says nothing to others, and its job; its server stood still until the job waited in the other."""
    still, living = pair
    (handle,) = submit(still.peer(), 1)
    worker = still.peer()
    assert grab(worker) == (handle, b"w0")
    until(lambda: cluster.database.rows("state") == [(1,)])
    still.signal(signal.SIGSTOP)
    try:
        until(lambda: startable(living) == 1)  # the wait for words is over
    finally:
        still.signal(signal.SIGCONT)
    return worker, handle


def test_the_adopter_hears_of_the_job_before_it_gives_it_out_and_gets_its_progress_and_its_end(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], running: tuple[StreamPeer, bytes], until: Until
) -> None:
    (worker, handle), (still, living) = running, pair
    still.wait_for_log("comes back as a new one")
    until(lambda: startable(living) == 0)
    assert grab(living.peer()) is None
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"7")
    until(lambda: living.peer().ask(PacketType.GET_STATUS, handle)[1].split(b"\0")[1:] == [b"1", b"1", b"3", b"7"])
    until(lambda: cluster.database.rows("state, requeues") == [(1, 0)])
    worker.send(PacketType.WORK_COMPLETE, handle, b"result")
    until(lambda: cluster.database.rows("handle") == [])
    assert (waiting(still), waiting(living)) == (0, 0)
    (after,) = submit(worker, 1)
    assert grab(worker) == (after, b"w0")  # it is an ordinary worker again


def test_the_end_of_the_worker_is_told_too_and_its_job_runs_again_in_one_place(
    pair: tuple[ServerProcess, ServerProcess], running: tuple[StreamPeer, bytes], until: Until
) -> None:
    (worker, handle), (still, living) = running, pair
    still.wait_for_log("comes back as a new one")
    until(lambda: startable(living) == 0)
    worker.close()
    assert await_job(living.peer()) == (handle, b"w0")
    assert waiting(still) == 0
