"""The worker against a scripted server: broken, lost and stalled connections, and several servers at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import Worker, WorkerSettings
from gearman_client.extensions import JOB_ASSIGN_ATTEMPT
from gearman_client.packet import PacketType, encode_response

from ..conftest import RecordingObserver, ScriptedServer

T = PacketType


def test_a_connection_cut_in_the_middle_of_an_assignment_is_reopened_at_once(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.socket.sendall(encode_response(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"12345")[:-3])
    peer.close()
    again = scripted_server.accept()
    again.greet(b"f")
    again.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"12345")
    assert grabbed.result(10).workload == b"12345"
    assert [event[0] for event in observer.events] == ["connected", "disconnected", "connected"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        encode_response(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f"),
        encode_response(JOB_ASSIGN_ATTEMPT, b"H:x:1", b"f", b"", b"many", b""),
        encode_response(4711),
        encode_response(T.JOB_CREATED, b"H:x:1"),
        encode_response(T.NOOP) * 2000,
    ],
    ids=["garbage", "too few arguments", "no number", "unknown type", "not for workers", "anything but an answer"],
)
def test_a_server_that_sends_nonsense_loses_its_connection_and_is_tried_again(
    worker: Worker,
    scripted_server: ScriptedServer,
    in_thread: Callable[..., Future[Any]],
    observer: RecordingObserver,
    nonsense: bytes,
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.socket.sendall(nonsense)
    again = scripted_server.accept()
    again.greet(b"f")
    again.send(T.JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"")
    assert grabbed.result(10).handle == "H:x:2"
    assert len(observer.named("disconnected")) == 1


def test_a_job_that_was_not_requested_is_not_taken(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    again = scripted_server.accept()  # the server sees the end of the first connection and requeues the job
    again.greet(b"f")
    worker.stop()
    again.send(T.NO_JOB)
    assert grabbed.result(10) is None
    assert "ASSIGNED is not expected while ASLEEP" in observer.named("disconnected")[0][2]


def test_a_server_that_does_not_answer_a_grab_is_given_up_after_the_reply_timeout(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab, 0.5)
    scripted_server.accept().greet(b"f")
    assert grabbed.result(10) is None
    assert "sent nothing for 0.3 s" in observer.named("disconnected")[0][2]


def test_a_server_that_accepts_and_never_answers_does_not_keep_the_worker_from_the_other_one(
    start_scripted_server: Callable[[], ScriptedServer],
    in_thread: Callable[..., Future[Any]],
    observer: RecordingObserver,
) -> None:
    silent, lively = start_scripted_server(), start_scripted_server()
    with Worker([silent.address, lively.address], observer=observer) as worker:
        worker.register("f")
        grabbed = in_thread(worker.grab)
        mute = silent.accept()
        peer = lively.accept()
        peer.greet(b"f")
        for number in range(3):
            peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:%d" % number, b"f", b"", b"")
            grabbed.result(5).complete(b"")
            grabbed = in_thread(worker.grab)
            peer.expect(T.WORK_COMPLETE, b"H:x:%d" % number, b"")
            peer.expect(T.GRAB_JOB_UNIQ)
        peer.put_to_sleep()
        worker.stop()
        assert grabbed.result(5) is None
        mute.close()


def test_a_lost_connection_does_not_disturb_the_other_server(
    start_scripted_server: Callable[[], ScriptedServer],
    in_thread: Callable[..., Future[Any]],
    observer: RecordingObserver,
) -> None:
    first, second = start_scripted_server(), start_scripted_server()
    with Worker([first.address, second.address], observer=observer) as worker:
        worker.register("f")
        grabbed = in_thread(worker.grab)
        peers = [first.accept(), second.accept()]
        for peer in peers:
            peer.greet(b"f")
            peer.put_to_sleep()
        first.stop_listening()
        peers[0].close()
        peers[1].send(T.NOOP)
        peers[1].expect(T.GRAB_JOB_UNIQ)
        peers[1].send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
        assert grabbed.result(10).server == second.address
    assert [event[1] for event in observer.named("disconnected")] == [first.address]


def test_with_two_busy_servers_the_worker_moves_on_after_a_hundred_jobs(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    servers = {server.address: server for server in (start_scripted_server(), start_scripted_server())}
    with Worker(list(servers)) as worker:
        worker.register("f")
        served: list[Any] = []

        def serve(server: ScriptedServer) -> None:
            peer = server.accept()
            peer.greet(b"f")
            while True:
                peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
                if peer.next()[0] != T.WORK_COMPLETE or peer.next()[0] != T.GRAB_JOB_UNIQ:
                    return

        def ignore_the_end(server: ScriptedServer) -> None:
            with pytest.raises(AssertionError, match="the connection ended"):
                serve(server)

        threads = [in_thread(ignore_the_end, server) for server in servers.values()]
        deadline = time.monotonic() + 60
        while len(served) < 1000 and time.monotonic() < deadline:
            job = worker.grab(1)
            assert job is not None
            served.append(job.server)
            job.complete()
        assert {served.count(address) > 300 for address in servers} == {True}
        turns = [a for a, b in itertools.pairwise(served) if a != b]
        assert len(turns) >= 8
        worker.close()
        for thread in threads:
            thread.result(10)


def test_a_job_that_reports_to_a_server_that_does_not_read_is_blocked_only_for_a_limited_time(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    job = grabbed.result(10)
    started = time.monotonic()
    for _ in range(64):
        job.data(bytes(512 * 1024))
    job.complete(b"")
    assert time.monotonic() - started < 5
    assert "took no data for 0.3 s" in observer.named("disconnected")[0][2]
    assert [event[2] for event in observer.named("result_lost")] == ["H:x:1"]


def test_a_server_that_hangs_up_repeatedly_is_retried_with_pauses(
    scripted_server: ScriptedServer, in_thread: Callable[..., Any], observer: RecordingObserver
) -> None:
    settings = WorkerSettings(first_backoff_s=0.1, max_backoff_s=0.2)
    with Worker(scripted_server.address, settings, observer=observer) as worker:
        worker.register("f")
        grabbed = in_thread(worker.grab)
        started = time.monotonic()
        for _ in range(6):
            peer = scripted_server.accept()
            peer.greet(b"f")
            peer.close()
        # The first retry comes at once, the next ones each after at least half of 0.1 s.
        assert time.monotonic() - started >= 0.2
        worker.stop()
        assert grabbed.result(10) is None
