"""Task sets and `map` when servers split, delay and reorder packets, break off, stall, die and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearman_client import (
    Client,
    ConnectionLost,
    CouldNotConnect,
    InUse,
    JobException,
    JobFailed,
    JobHandle,
    JobNotKnown,
    JobStatus,
    ServerError,
    Timeout,
    WorkerJob,
)
from gearman_client.client.server_choice import hash_of
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ..conftest import Peer, RunningWorker, ScriptedServer
from .fake_server import FakeServer

T = PacketType
PATIENCE_S = 60
#: As few examples as find a mistake in the order of packets at once; each opens real connections.
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORKLOADS = st.lists(
    st.sampled_from([b"", b"ab", b"fail", b"raise", b"refuse", b"x\0y", b"long" * 50]), min_size=1, max_size=30
)


def outcome(task: Any) -> Any:
    """What a task came to: its result, or the type of its error."""
    return task.result() if task.error is None else type(task.error)


def expected(workload: bytes) -> Any:
    kinds = {b"fail": JobFailed, b"raise": JobException, b"refuse": ServerError}
    return kinds.get(workload, workload[::-1])


#: The refusal of a server that is about to end.
ENDING = (T.ERROR, b"QUEUE_ERROR", b"The server is shutting down")


@pytest.mark.parametrize("has_another", [True, False])
def test_tasks_that_an_ending_server_does_not_take_go_elsewhere_and_the_others_are_finished_there(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]], has_another: bool
) -> None:
    servers = [start_scripted_server() for _ in range(1 + has_another)]
    keys = [key for key in "abcdefgh" if hash_of(key.encode()) % len(servers) == 0][:2]
    client = Client([server.address for server in servers], exceptions=False)
    with client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        taken, refused = (tasks.add("f", "w", unique=key) for key in keys)
        done = in_thread(tasks.wait)
        peer = servers[0].accept()
        for key in keys:
            peer.expect(T.SUBMIT_JOB, b"f", key.encode(), b"w")
        servers[0].stop_listening()
        peer.send(T.JOB_CREATED, b"H:1")
        peer.send(*ENDING)
        if not has_another:
            peer.send(T.WORK_COMPLETE, b"H:1", b"taken")
            peer.close()
            servers[0].listen_again()
        other = servers[-1].accept()
        other.expect(T.SUBMIT_JOB, b"f", keys[1].encode(), b"w")
        other.send(T.JOB_CREATED, b"H:2")
        other.send(T.WORK_COMPLETE, b"H:2", b"refused")
        if has_another:
            peer.send(T.WORK_COMPLETE, b"H:1", b"taken")
        assert done.result(PATIENCE_S) == []
        assert (taken.result(), refused.result()) == (b"taken", b"refused")


@EXAMPLES
@given(WORKLOADS, st.integers(0, 2**32))
def test_every_task_gets_its_own_packets_however_they_arrive(workloads: list[bytes], seed: int) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(FakeServer(seed)))
        client = stack.enter_context(Client(server.address))
        tasks = stack.enter_context(client.task_set(timeout_s=PATIENCE_S))
        foreground = [tasks.add("f", workload) for workload in workloads]
        background = [tasks.add_background("f", workload) for workload in workloads]
        asked = tasks.add_status("H:x:1")
        assert tasks.wait() == []
        assert [outcome(task) for task in foreground] == [expected(workload) for workload in workloads]
        kinds = [ServerError if workload == b"refuse" else JobHandle for workload in workloads]
        assert [outcome(task) if task.error else type(outcome(task)) for task in background] == kinds
        assert asked.result() == JobStatus(known=True, running=True, numerator=3, denominator=7)


@EXAMPLES
@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(0, 2**32), st.integers(1, 9), st.booleans())
def test_map_keeps_the_order_however_packets_arrive(
    workloads: list[bytes], seed: int, window: int, as_completed: bool
) -> None:
    workloads = [b"w" + workload for workload in workloads]
    with (
        contextlib.closing(FakeServer(seed, breaks=2)) as server,
        Client(server.address, timeout_s=PATIENCE_S) as client,
    ):
        results = list(client.map("f", workloads, window=window, as_completed=as_completed))
    wanted = [workload[::-1] for workload in workloads]
    assert Counter(results) == Counter(wanted)
    if not as_completed:
        assert results == wanted


@pytest.mark.parametrize("as_completed", [False, True])
def test_the_memory_of_a_map_does_not_grow_with_the_workloads(as_completed: bool) -> None:
    """Also not with limits of time, which are noted for every job."""
    blocks = []
    with contextlib.closing(FakeServer(0, delays=False)) as server, Client(server.address, timeout_s=3600) as client:
        workloads = (b"%d" % number for number in range(20_000))
        options: Any = {"as_completed": as_completed, "try_timeout_s": 3600}
        for number, _ in enumerate(client.map("f", workloads, **options)):
            if number in (5_000, 19_000):
                blocks.append(sys.getallocatedblocks())
    assert blocks[1] - blocks[0] < 10_000


@EXAMPLES
@given(WORKLOADS, st.integers(0, 2**32), st.integers(1, 4))
def test_no_task_is_lost_or_doubled_when_connections_break_in_the_middle(
    workloads: list[bytes], seed: int, breaks: int
) -> None:
    servers = [FakeServer(seed, breaks), FakeServer(seed + 1, breaks)]
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        client = stack.enter_context(Client([server.address for server in servers]))
        tasks = stack.enter_context(client.task_set(timeout_s=PATIENCE_S))
        foreground = [tasks.add("f", workload) for workload in workloads]
        background = [tasks.add_background("f", b"%d" % number) for number in range(len(workloads))]
        assert tasks.wait() == []
        assert [outcome(task) for task in foreground] == [expected(workload) for workload in workloads]
        accepted = Counter(server for each in servers for server in each.background)
        for number, task in enumerate(background):
            if task.error is None:
                assert accepted[b"%d" % number] == 1
            else:
                assert type(task.error) is JobNotKnown
                assert accepted[b"%d" % number] <= 1


def greeted(server: ScriptedServer) -> Peer:
    """The next connection, after the client's first question."""
    peer = server.accept()
    peer.expect(T.OPTION_REQ, b"exceptions")
    peer.send(T.OPTION_RES, b"exceptions")
    return peer


def test_what_becomes_of_each_job_when_its_server_is_lost(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    server = start_scripted_server()
    with Client(server.address, timeout_s=PATIENCE_S) as client, client.task_set() as tasks:
        accepted = tasks.add("accepted", b"")
        forbidden = tasks.add("forbidden", b"", resubmit=False)
        sent = tasks.add("sent", b"")
        acknowledged = tasks.add_background("acknowledged", b"")
        unknown = tasks.add_background("unknown", b"")
        retried: list[str] = []
        for task in (accepted, sent):
            task.context = task.function
        done = in_thread(tasks.wait)
        peer = greeted(server)
        assert [peer.next()[1].partition(b"\0")[0] for _ in range(5)] == [
            b"accepted", b"forbidden", b"sent", b"acknowledged", b"unknown",
        ]  # fmt: skip
        peer.send(T.JOB_CREATED, b"H:1")
        peer.send(T.JOB_CREATED, b"H:2")
        peer.send(T.JOB_CREATED, b"H:3")
        peer.send(T.JOB_CREATED, b"H:4")
        peer.close()
        peer = greeted(server)
        peer.expect(T.SUBMIT_JOB, b"accepted", b"", b"")
        peer.expect(T.SUBMIT_JOB, b"sent", b"", b"")
        peer.send(T.JOB_CREATED, b"H:7")
        peer.send(T.JOB_CREATED, b"H:8")
        peer.send(T.WORK_COMPLETE, b"H:7", b"seven")
        peer.send(T.WORK_COMPLETE, b"H:8", b"eight")
        assert done.result(PATIENCE_S) == []
        assert (accepted.result(), sent.result()) == (b"seven", b"eight")
        assert (accepted.attempts, sent.attempts) == (2, 2)
        assert acknowledged.result() == "H:4"
        with pytest.raises(ConnectionLost, match="closed by the job server"):
            forbidden.result()
        with pytest.raises(JobNotKnown, match=r"unknown, which it may have, or not"):
            unknown.result()
        assert retried == []


def test_a_server_that_never_answers_is_given_up_for_another(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    """It answers the first question, and nothing else."""
    silent, good = start_scripted_server(), start_scripted_server()
    options: Any = {"reply_timeout_s": 0.3, "timeout_s": PATIENCE_S}
    with Client([silent.address, good.address], **options) as client, client.task_set() as tasks:
        added = [tasks.add("f", b"%d" % number) for number in range(4)]
        done = in_thread(tasks.wait)
        mute, peer = greeted(silent), greeted(good)
        mute.next()
        for number in range(4):
            handle = b"H:%d" % number
            _, body = peer.next()
            peer.send(T.JOB_CREATED, handle)
            peer.send(T.WORK_COMPLETE, handle, body.rpartition(b"\0")[2])
        assert done.result(PATIENCE_S) == []
        assert [task.result() for task in added] == [b"%d" % number for number in range(4)]


def test_a_server_that_talks_nonsense_is_given_up(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client, client.task_set(resubmit=False) as tasks:
        job, background = tasks.add("f", b""), tasks.add_background("f", b"")
        done = in_thread(tasks.wait)
        peer = greeted(scripted_server)
        peer.next()
        peer.send(T.ECHO_RES, b"what?")
        assert done.result(PATIENCE_S) == []
        assert "ECHO_RES" in str(job.error)
        assert type(background.error) is JobNotKnown


def test_a_server_that_is_no_job_server_is_named(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client, client.task_set() as tasks:
        task = tasks.add("f", b"")
        done = in_thread(tasks.wait)
        scripted_server.accept().socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert done.result(PATIENCE_S) == []
        with pytest.raises(CouldNotConnect, match="does not answer like a job server"):
            task.result()


def test_answers_that_came_while_nobody_looked_are_in_time(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    """The caller is busy between two looks for longer than every limit; the answers wait in the socket."""
    pause = threading.Event()
    client = Client(scripted_server.address, reply_timeout_s=0.05)
    with client, client.task_set(try_timeout_s=1, timeout_s=1.5) as tasks:
        task = tasks.add("f", b"")

        def send() -> None:
            while not task.attempts:
                tasks.wait(0)

        sent = in_thread(send)
        peer = greeted(scripted_server)
        peer.next()
        sent.result(PATIENCE_S)
        peer.send(T.JOB_CREATED, b"H:1")
        peer.send(T.WORK_COMPLETE, b"H:1", b"in time")
        pause.wait(2)
        assert tasks.wait() == []
        assert task.result() == b"in time"


def test_a_map_goes_on_when_a_server_is_killed_and_comes_back(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    servers = [start_gearmand(), start_gearmand()]
    calls = 0

    def double(job: WorkerJob) -> bytes:
        nonlocal calls
        calls += 1
        return b"%d" % (2 * int(job.workload))

    for _ in range(2):
        start_worker([server.address for server in servers], {"double": double})
    with Client([server.address for server in servers], timeout_s=PATIENCE_S) as client:
        results = client.map("double", (b"%d" % number for number in range(3000)), window=300)
        found = []
        for number, result in enumerate(results):
            found.append(result)
            if number in (500, 1500):
                servers[number // 1000].kill()
            if number in (1000, 2000):
                servers[number // 1000 - 1].start()
    assert found == [b"%d" % (2 * number) for number in range(3000)]
    assert calls >= 3000


def test_a_set_that_has_lost_its_only_server_waits_for_its_return(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    server = start_gearmand()
    with Client(server.address, timeout_s=PATIENCE_S) as client, client.task_set() as tasks:
        waiting = [tasks.add("upper", b"a"), tasks.add("upper", b"b", unique="key")]
        assert len(tasks.wait(0.2)) == 2
        server.kill()
        hasty = tasks.add("upper", b"c", timeout_s=0.3)
        assert len(tasks.wait(0.01)) == 3
        for task in tasks:
            assert task is hasty
            assert isinstance(task.error, Timeout)
            break
        server.start()
        start_worker(server.address, {"upper": lambda job: job.workload.upper()})
        assert tasks.wait() == []
        assert [task.result() for task in waiting] == [b"A", b"B"]


def test_a_server_that_stopped_takes_nobody_elses_time(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    servers = [start_gearmand(), start_gearmand()]
    start_worker(servers[1].address, {"upper": lambda job: job.workload.upper()})
    os.kill(servers[0].pid, signal.SIGSTOP)
    try:
        addresses = [server.address for server in servers]
        with Client(addresses, timeout_s=PATIENCE_S, connect_timeout_s=30) as client:
            assert list(client.map("upper", [b"a"] * 300)) == [b"A"] * 300
    finally:
        os.kill(servers[0].pid, signal.SIGCONT)


def test_a_program_patched_by_gevent_goes_on_meanwhile(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    server = start_gearmand()
    start_worker(server.address, {"upper": lambda job: job.workload.upper()})
    program = f"""
from gevent import monkey
monkey.patch_all()
import gevent
from gearman_client import Client

ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.005)

gevent.spawn(tick)
client = Client("{server.address}", timeout_s=60)
calls = [gevent.spawn(lambda: list(client.map("upper", [b"a"] * 500))) for _ in range(5)]
assert [call.get() for call in calls] == [[b"A"] * 500] * 5
assert client.submit_future("upper", b"b").result() == b"B"
tasks = client.task_set()
tasks.add("nobody", b"")
before = ticks
assert len(tasks.wait(0.3)) == 1
assert ticks > before + 3, ticks
tasks.close()
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE_S, check=False)
    assert (ended.stdout, ended.stderr) == (b"done\n", b"")


def test_a_set_of_the_parent_is_refused_in_the_child_of_a_fork(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    server = start_gearmand()
    with Client(server.address, timeout_s=PATIENCE_S) as client, client.task_set() as tasks:
        task = tasks.add("upper", b"a")
        results = client.map("upper", [b"b", b"c"])
        assert tasks.wait(0.05) == [task]
        child = os.fork()
        if child == 0:
            code = 0
            try:
                for use in (tasks.wait, tasks.close):
                    try:
                        use()
                    except InUse:
                        code += 1
                mine = client.map("upper", [b"d"], timeout_s=0.05, return_exceptions=True)
                code += isinstance(next(mine), Timeout)
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        start_worker(server.address, {"upper": lambda job: job.workload.upper()})
        assert list(results) == [b"B", b"C"]
        assert tasks.wait() == []
        assert task.result() == b"A"


def test_an_attempt_to_connect_that_an_earlier_call_left_says_nothing_about_the_server_today(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, connect_timeout_s=0.05, timeout_s=PATIENCE_S) as client:
        with pytest.raises(CouldNotConnect):
            client.echo(timeout_s=0.02)  # its attempt is left to later calls
        scripted_server.accept()  # and is never answered
        time.sleep(1.2)  # longer than the attempt may take, and nobody has looked at it
        results = in_thread(list, client.map("f", [b"x"]))
        peer = scripted_server.accept()  # an attempt of its own
        peer.close()
        with pytest.raises(CouldNotConnect, match="does not answer like a job server"):
            results.result(PATIENCE_S)


def test_a_child_of_a_fork_leaves_the_block_of_a_set_without_an_error(start_gearmand: Callable[[], Gearmand]) -> None:
    client, code, child = Client(start_gearmand().address), 1, -1
    try:
        with client.task_set() as tasks:
            tasks.add("nobody", b"")
            tasks.wait(0.05)
            child = os.fork()
        code = 7
    finally:
        if child == 0:
            os._exit(code)
        client.close()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
