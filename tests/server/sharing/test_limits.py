"""What holds for a function holds for the whole cluster: its `max_running`, its `rate`, its pause."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, grab, run_all, submit, waiting

#: Nothing here depends on the kind of database.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)


def grab_as_many_as_possible(server: ServerProcess) -> list[StreamPeer]:
    """Workers that got a job and keep it."""
    busy = []
    while grab(peer := server.peer()) is not None:
        busy.append(peer)
    return busy


@pytest.fixture
def limited(cluster: Cluster, tmp_path: Path) -> list[ServerProcess]:
    """Three servers of a cluster with limits."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {max_running: 4}, slow: {rate: 6/10s}}\n")
    return [cluster.start("--policies", str(policies)) for _ in range(3)]


def test_max_running_holds_for_all_servers_together_and_moves_to_where_the_jobs_are(
    limited: list[ServerProcess], until: Until
) -> None:
    submit(limited[0].peer(), 9)
    busy: list[StreamPeer] = []

    def all_run() -> bool:
        busy.extend(grab_as_many_as_possible(limited[0]))
        return len(busy) == 4

    until(all_run)  # the others give up their shares, which they do not need
    submit(limited[1].peer(), 9)
    time.sleep(2.0)  # in this time it could have taken a share that is not free
    assert grab_as_many_as_possible(limited[1]) == []
    busy.pop().close()  # its job goes back into the queue of the first server
    taken: list[StreamPeer] = []

    def one_moved() -> bool:
        taken.extend(grab_as_many_as_possible(limited[1]))
        return len(taken) == 1

    until(one_moved)
    assert grab_as_many_as_possible(limited[0]) == []


def test_the_share_of_a_killed_server_counts_until_those_that_adopted_its_jobs_have_told_what_runs_there(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    """Its workers may go on: who adopts a job that runs must not be late with saying so."""
    dead, living = pair
    submit(dead.peer(), 1)
    dead.signal(signal.SIGKILL)
    until(lambda: waiting(living) == 1)
    until(lambda: len(cluster.owners()) == 1)
    adopted_at = time.monotonic()
    until(lambda: len(cluster.database.rows("id", "gearman_servers")) == 1)
    assert time.monotonic() - adopted_at > 1.5


def test_a_rate_holds_for_all_servers_together(limited: list[ServerProcess], until: Until) -> None:
    for server in limited:
        peer = server.peer()
        for _ in range(9):
            assert peer.ask(PacketType.SUBMIT_JOB_BG, b"slow", b"", b"")[0] == PacketType.JOB_CREATED
    started_at: list[float] = []
    workers = [server.peer() for server in limited]

    def enough_have_started() -> bool:
        for worker in workers:
            if grab(worker, encode_request(PacketType.CAN_DO, b"slow")) is not None:
                started_at.append(time.monotonic())
        return len(started_at) >= 9

    until(enough_have_started)
    for first, seventh in zip(started_at, started_at[6:], strict=False):
        assert seventh - first > 9.5


def test_a_pause_holds_everywhere_within_a_second_and_so_does_its_end(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    one, other = pair
    submit(other.peer(), 2)
    assert one.text(b"pause function f") == b"OK\r\n"
    until(lambda: b"f\t" in other.text(b"holds"))
    assert grab(other.peer()) is None
    one.signal(signal.SIGKILL)
    later = cluster.start()
    assert b"f\t" in later.text(b"holds")
    assert later.text(b"resume function f") == b"OK\r\n"
    worker = other.peer()
    until(lambda: grab(worker) is not None)


def test_max_queue_counts_the_jobs_of_all_servers(cluster: Cluster, tmp_path: Path, until: Until) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {max_queue: 5}}\n")
    one, other = (cluster.start("--policies", str(policies)) for _ in range(2))
    submit(one.peer(), 5)
    asking = other.peer()

    def is_refused() -> bool:
        return asking.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")[0] == PacketType.ERROR

    for _ in range(4):
        time.sleep(1.0)  # a beat tells of them, and one that is taken before is one of the five
        if is_refused():
            break
    assert waiting(other) < 4
    assert is_refused()
    assert len(run_all(one.peer())) == 5
    until(lambda: not is_refused())
