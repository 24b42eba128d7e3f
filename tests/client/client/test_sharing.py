"""One client for several threads, greenlets and forked processes; workers and administration clients serve one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Threads
from typing import Any

import pytest

from gearman_client import Client, InUse, Worker, WorkerJob, connect_admin
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ..conftest import RunningWorker, ScriptedServer
from ..forking import in_child

THREADS = 8
T = PacketType


@pytest.fixture
def echoing(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Gearmand:
    """A job server with two workers of the function echo."""
    for _ in range(2):
        start_worker(gearmand.address, {"echo": lambda job: job.workload})
    return gearmand


def run_many(client: Client, name: str, jobs: int = 25) -> None:
    for number in range(jobs):
        workload = f"{name} {number}".encode()
        assert client.submit("echo", workload) == workload


def test_threads_that_share_a_client_get_their_own_results_and_handles(echoing: Gearmand) -> None:
    with Client(echoing.address, timeout_s=20) as client, Threads(THREADS) as threads:
        for done in [threads.submit(run_many, client, f"thread {number}") for number in range(THREADS)]:
            done.result(30)
        uniques = [f"u{number}" for number in range(100)]
        handles = list(threads.map(lambda unique: client.submit_background("none", b"", unique=unique), uniques))
        assert len(set(handles)) == len(uniques)
        again = list(threads.map(lambda unique: client.submit_background("none", b"", unique=unique), uniques))
        assert again == handles
        assert all(threads.map(lambda handle: client.status(handle).known, handles))


def test_a_request_that_waits_holds_up_no_other(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False) as client:
        waiting = in_thread(client.submit, "slow", b"")
        first = scripted_server.accept()
        first.expect(T.SUBMIT_JOB, b"slow", b"", b"")
        pinged = in_thread(client.echo, b"ping")
        second = scripted_server.accept()
        second.expect(T.ECHO_REQ, b"ping")
        second.send(T.ECHO_RES, b"ping")
        assert pinged.result(10) == b"ping"
        first.send(T.JOB_CREATED, b"H:a:1")
        first.send(T.WORK_COMPLETE, b"H:a:1", b"done")
        assert waiting.result(10) == b"done"


def test_a_request_from_a_callback_or_a_signal_handler_is_one_of_its_own(
    echoing: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    def talk(job: WorkerJob) -> bytes:
        job.data(b"piece")
        return b"whole"

    start_worker(echoing.address, {"talk": talk})
    inner: list[bytes] = []
    with Client(echoing.address, timeout_s=20) as client:

        def heard(piece: bytes) -> None:
            inner.append(client.submit("echo", piece))
            signal.raise_signal(signal.SIGUSR2)

        before = signal.signal(signal.SIGUSR2, lambda *_: inner.append(client.submit("echo", b"from a handler")))
        try:
            assert client.submit("talk", b"", on_data=heard) == b"whole"
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert inner == [b"piece", b"from a handler"]
        handles = client.submit_background_many("none", (client.submit("echo", b"%d" % n) for n in range(3)))
        assert len(handles) == 3


def test_a_client_works_on_in_both_processes_after_a_fork(echoing: Gearmand) -> None:
    with Client(echoing.address, timeout_s=20) as client:
        run_many(client, "before", 1)
        pids = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    run_many(client, f"child {number}")
                    client.close()
                finally:
                    failed = sys.exc_info()[0] is not None
                    os._exit(failed)
            pids.append(pid)
        run_many(client, "parent")
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
        run_many(client, "parent again", 1)


def test_a_request_under_way_at_a_fork_ends_in_the_child(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], wait_for: Callable[..., Any]
) -> None:
    parent = os.getpid()
    in_the_child: list[int] = []

    def fork(_handle: str) -> None:
        in_the_child.append(os.fork())

    def submit() -> bytes:
        try:
            return client.submit("f", b"", on_created=fork)
        except InUse as error:
            if os.getpid() != parent and "before a fork" in str(error):
                os._exit(0)
            raise
        finally:
            if os.getpid() != parent:
                os._exit(1)

    with Client(scripted_server.address, exceptions=False, timeout_s=20) as client:
        result = in_thread(submit)
        peer = scripted_server.accept()
        peer.expect(T.SUBMIT_JOB, b"f", b"", b"")
        peer.send(T.JOB_CREATED, b"H:a:1")
        wait_for(lambda: in_the_child, "the fork")
        assert os.waitpid(in_the_child[0], 0)[1] == 0
        peer.send(T.WORK_COMPLETE, b"H:a:1", b"mine")
        assert result.result(10) == b"mine"


GREENLETS = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from gearman_client import Client

client = Client(sys.argv[1], timeout_s=20)

def many(number):
    return all(client.submit("echo", f"{number} {job}") == f"{number} {job}".encode() for job in range(20))

jobs = [gevent.spawn(many, number) for number in range(8)]
gevent.joinall(jobs, raise_error=True)
print(sum(job.value for job in jobs))
"""


def test_greenlets_that_share_a_client_get_their_own_results(echoing: Gearmand) -> None:
    command = [sys.executable, "-c", GREENLETS, str(echoing.address)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "8\n"


def test_a_crowd_of_threads_leaves_no_crowd_of_connections(gearmand: Gearmand) -> None:
    crowd = 50
    barrier = threading.Barrier(crowd)
    with Client(gearmand.address) as client:

        def ask(_number: int) -> bytes:
            return client.submit_background_many("none", wait_for_all())[0].encode()

        def wait_for_all() -> Any:
            barrier.wait(30)
            yield b""

        with Threads(crowd) as threads:
            list(threads.map(ask, range(crowd)))
        assert len(client._pools._idle) <= 32


def test_a_worker_in_two_threads_says_so(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    with pytest.raises(InUse, match=r"another thread.*using this worker.*make one for each"):
        worker.grab(0)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"w")
    assert grabbed.result(10).workload == b"w"


def test_a_worker_belongs_to_the_process_that_made_it(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"w")
    job = grabbed.result(10)
    job.complete(b"done")  # waits for the next grab

    def use_and_close() -> None:
        with pytest.raises(InUse, match=r"this worker was made before a fork.*make one in each process"):
            worker.grab(0)
        worker.close()

    in_child(use_and_close)
    worker.flush()
    peer.expect(T.WORK_COMPLETE, b"H:x:1", b"done")
    peer.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):  # neither a second answer nor the end of the connection
        peer.next()


def test_an_administration_client_in_two_threads_or_processes_says_so(
    gearmand: Gearmand, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with connect_admin(gearmand.address) as admin:
        admin.status()

        def use() -> None:
            with pytest.raises(InUse, match="administration client was made before a fork"):
                admin.status()

        in_child(use)
        assert admin.getpid() == gearmand.pid
    with connect_admin(scripted_server.address) as slow:
        waiting = in_thread(slow.version)
        peer = scripted_server.accept()
        assert peer.socket.recv(100) == b"version\n"
        with pytest.raises(InUse, match="another thread"):
            slow.status()
        peer.socket.sendall(b"OK 1\n")
        assert waiting.result(10) == "1"
