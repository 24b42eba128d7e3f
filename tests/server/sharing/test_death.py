"""A server of a cluster dies, stands still, or ends: the others have its jobs, and each runs once."""

from __future__ import annotations

import signal
import time

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from ...still_thread import standing_still
from ..server_process import ServerProcess
from .conftest import Cluster, Until, await_job, grab, numbered, run_all, startable, submit, waiting

#: From the kill to the first of its jobs in another server: the lease of 3 s, a beat before and a beat after it, and
#: time for a busy machine.
PATIENCE_S = 8.0


def test_the_waiting_jobs_of_a_killed_server_are_served_in_their_order_before_the_others(
    pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    dead, living = pair
    submit(dead.peer(), 700)
    submit(living.peer(), 2, workload=b"own")
    dead.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    until(lambda: startable(living) == 702)
    assert time.monotonic() - killed_at < PATIENCE_S
    assert run_all(living.peer()) == [*numbered(700), *numbered(2, b"own")]


def test_a_job_that_ran_when_its_server_died_counts_an_attempt_and_runs_again(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    dead, living = pair
    (handle,) = submit(dead.peer(), 1)
    assert grab(dead.peer()) == (handle, b"w0")
    until(lambda: cluster.database.rows("state") == [(1,)])
    dead.signal(signal.SIGKILL)
    until(lambda: waiting(living) == 1)
    assert cluster.database.rows("requeues") == [(1,)]
    assert await_job(living.peer()) == (handle, b"w0")


def test_a_server_that_ends_in_order_hands_its_jobs_over_at_once(
    pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    ending, living = pair
    submit(ending.peer(), 3)
    ending.signal(signal.SIGTERM)
    assert ending.wait() == 0
    ended_at = time.monotonic()
    until(lambda: waiting(living) == 3)
    assert time.monotonic() - ended_at < 2.5  # the lease would be over only then
    assert run_all(living.peer()) == numbered(3)


def test_a_server_that_stood_still_finds_that_its_jobs_are_others_and_comes_back(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    still, living = pair
    peer = still.peer()
    submit(peer, 20)
    before = cluster.ids()
    still.signal(signal.SIGSTOP)
    try:
        until(lambda: waiting(living) == 20)
        worker = living.peer()
        ran = [await_job(worker)]
    finally:
        still.signal(signal.SIGCONT)
    still.wait_for_log("comes back as a new one")
    until(lambda: waiting(still) == 0)
    until(lambda: len(cluster.ids()) == 2)
    assert cluster.ids()[0] == before[1]
    assert cluster.ids()[1] not in before
    assert submit(peer, 1, workload=b"after")  # it goes on
    assert grab(still.peer()) is not None
    assert len(ran) + len(run_all(living.peer(), 19)) == 20


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_a_server_whose_loop_hangs_has_no_beats_though_its_threads_go_on(cluster: Cluster, until: Until) -> None:
    hanging, living = cluster.start("--lease", "2"), cluster.start("--lease", "2")
    submit(hanging.peer(), 5)
    with standing_still(hanging.pid):
        until(lambda: waiting(living) == 5)
    hanging.wait_for_log("comes back as a new one")
    until(lambda: waiting(hanging) == 0)
    assert sum(cluster.owners().values()) == 5


def test_what_a_server_that_stood_still_had_in_hand_is_not_written_over_the_heads_of_others(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    still, living = pair
    (handle,) = submit(still.peer(), 1)
    worker = still.peer()
    assert grab(worker) == (handle, b"w0")
    still.signal(signal.SIGSTOP)
    until(lambda: waiting(living) == 1)
    worker.send(PacketType.WORK_COMPLETE, handle, b"late")  # it waits for the server in its socket
    still.signal(signal.SIGCONT)
    still.wait_for_log("comes back as a new one")
    worker.sync()
    assert cluster.database.rows("handle") == [(handle,)], "the late answer has removed the row of another server"
    assert run_all(living.peer(), 1) == [b"w0"]
    until(lambda: cluster.database.rows("handle") == [])


def test_two_of_three_die_and_the_third_has_all_jobs(cluster: Cluster, until: Until) -> None:
    servers = [cluster.start() for _ in range(3)]
    for server in servers:
        submit(server.peer(), 300)
    for server in servers[:2]:
        server.signal(signal.SIGKILL)
    until(lambda: waiting(servers[2]) == 900)
    assert len(run_all(servers[2].peer(), 900)) == 900
    until(lambda: cluster.owners() == {})


def test_a_server_that_is_started_again_has_its_jobs_back_without_the_end_of_the_lease(
    cluster: Cluster, until: Until, free_port: int
) -> None:
    first = cluster.start("--port", str(free_port))
    submit(first.peer(), 3)
    first.signal(signal.SIGKILL)
    first.wait()
    second = cluster.start("--port", str(free_port))
    started_at = time.monotonic()
    until(lambda: waiting(second) == 3)
    assert time.monotonic() - started_at < 1.0
    assert run_all(second.peer(), 3) == numbered(3)


def test_a_start_is_not_held_up_by_a_session_of_the_one_before_that_the_database_keeps(
    cluster: Cluster, until: Until, free_port: int
) -> None:
    """Its host was without power in the middle of a transaction, and is back: there is nobody else who would end it."""
    first = cluster.start("--port", str(free_port))
    submit(first.peer(), 3)
    with cluster.database.connect() as kept:
        for table in ("gearman_servers", "gearman_jobs"):
            kept.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))
        first.signal(signal.SIGKILL)
        first.wait()
        second = cluster.start("--port", str(free_port))
        until(lambda: waiting(second) == 3)
        kept.invalidate()


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_a_name_that_comes_back_twenty_times_leaves_no_server_behind(
    cluster: Cluster, until: Until, free_port: int
) -> None:
    for number in range(20):
        server = cluster.start("--port", str(free_port))
        submit(server.peer(), 1, workload=b"%d-" % number)
        server.signal(signal.SIGKILL)
        server.wait()
    last = cluster.start("--port", str(free_port))
    until(lambda: waiting(last) == 20)
    ((beats,),) = cluster.database.rows("beat", "gearman_beats WHERE id = (SELECT MAX(id) FROM gearman_servers)")
    assert beats < 15, "one is adopted after the other, and not one at each beat"
    until(lambda: len(cluster.database.rows("id", "gearman_servers")) == 1)
    assert sorted(run_all(last.peer(), 20)) == sorted(b"%d-0" % number for number in range(20))
