"""The worker against a scripted server: what leaves in one write, odd answers, lost and stalled connections."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import ArgumentError, JobAnswered, Worker, WorkerSettings
from gearman_client.extensions import JOB_ASSIGN_ATTEMPT, WORK_FAILURE
from gearman_client.packet import PacketType, encode_response

from ..conftest import RecordingObserver, ScriptedServer

T = PacketType


def test_a_connection_starts_with_client_id_option_and_functions_before_the_first_grab(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Worker(scripted_server.address, WorkerSettings(client_id="gm:m/pool/1")) as worker:
        worker.register("a")
        worker.register("b")
        grabbed = in_thread(worker.grab)
        peer = scripted_server.accept()
        peer.expect(T.SET_CLIENT_ID, b"gm:m/pool/1")
        peer.greet(b"a", b"b")
        peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"a", b"u", b"w\0w")
        job = grabbed.result(10)
        assert (job.handle, job.function, job.unique, job.workload) == ("H:x:1", "a", "u", b"w\0w")
        assert (job.attempt, job.server_is_ours, job.server) == (None, False, scripted_server.address)


def test_a_result_and_the_next_grab_arrive_in_one_read(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    grabbed.result(10).complete(b"done")
    grabbed = in_thread(worker.grab)
    assert peer.read_once() == [(T.WORK_COMPLETE, b"H:x:1\0done"), (T.GRAB_JOB_UNIQ, b"")]
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"")
    assert grabbed.result(10).handle == "H:x:2"


def test_our_own_server_is_recognised_and_its_attempt_number_is_read(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f", ours=True)
    peer.send(JOB_ASSIGN_ATTEMPT, b"H:x:1", b"f", b"u", b"3", b"work\0load")
    job = grabbed.result(10)
    assert (job.attempt, job.unique, job.workload, job.server_is_ours) == (3, "u", b"work\0load", True)
    job.fail_because("no")
    worker.flush()
    peer.expect(T.WORK_EXCEPTION, b"H:x:1", b"no")


def test_a_foreign_server_gets_the_reason_of_a_failure_as_a_warning(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN, b"H:x:1", b"f", b"")
    grabbed.result(10).fail_because("no")
    worker.flush()
    peer.expect(T.WORK_WARNING, b"H:x:1", b"no")
    peer.expect(T.WORK_FAIL, b"H:x:1")


def test_our_own_server_gets_the_traceback_and_the_decision_about_further_attempts(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f", ours=True)
    answers: list[Callable[[Any], Any]] = [
        lambda job: job.fail_because("no\0way", trace="where"),
        lambda job: job.retry("later", after_s=1.5, attempts=9, trace=b"where"),
        lambda job: job.retry("later"),
        lambda job: job.reject("never"),
    ]
    expected = [
        (b"fail", b"", b"", b"no way", b"where"),
        (b"retry", b"1500", b"9", b"later", b"where"),
        (b"retry", b"", b"", b"later", b""),
        (b"reject", b"", b"", b"never", b""),
    ]
    for answer, arguments in zip(answers, expected, strict=True):
        peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
        assert answer(grabbed.result(10)) in (None, True)
        grabbed = in_thread(worker.grab)
        peer.expect(WORK_FAILURE, b"H:x:1", *arguments)
        peer.expect(T.GRAB_JOB_UNIQ)
    worker.stop()
    peer.send(T.NO_JOB)
    assert grabbed.result(10) is None


def test_a_foreign_server_gets_a_plain_failure_when_a_job_asks_for_another_attempt(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    for method in ("retry", "reject"):
        peer.send(T.JOB_ASSIGN, b"H:x:1", b"f", b"")
        assert getattr(grabbed.result(10), method)("why", trace="where") is False
        grabbed = in_thread(worker.grab)
        peer.expect(T.WORK_WARNING, b"H:x:1", b"why")
        peer.expect(T.WORK_FAIL, b"H:x:1")
        peer.expect(T.GRAB_JOB_UNIQ)
    worker.stop()
    peer.send(T.NO_JOB)
    assert grabbed.result(10) is None


def test_without_the_option_a_worker_starts_with_an_echo(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Worker(scripted_server.address, WorkerSettings(job_attempt=False, grab_unique=False)) as worker:
        worker.register("f")
        in_thread(worker.grab, 0.5)
        peer = scripted_server.accept()
        kind, probe = peer.next()
        assert kind == T.ECHO_REQ
        peer.expect(T.CAN_DO, b"f")
        peer.send(T.ECHO_RES, probe)
        peer.expect(T.GRAB_JOB)
        peer.put_to_sleep()


def test_an_error_packet_before_the_answer_to_a_grab_is_reported_and_ignored(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]], observer: RecordingObserver
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    late = encode_response(T.ERROR, b"JOB_NOT_FOUND", b"Job given in work result not found")
    peer.socket.sendall(late + late + encode_response(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"x"))
    assert grabbed.result(10).workload == b"x"
    assert [event[2] for event in observer.named("server_error")] == ["JOB_NOT_FOUND"] * 2


def test_an_error_packet_while_asleep_does_not_end_the_sleep(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    peer.send(T.ERROR, b"JOB_NOT_FOUND", b"")
    peer.send(T.NOOP)
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    assert grabbed.result(10).handle == "H:x:1"


def test_a_noop_that_comes_with_the_job_does_no_harm(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    noop = encode_response(T.NOOP)
    peer.socket.sendall(noop + encode_response(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"") + noop)
    assert grabbed.result(10).handle == "H:x:1"


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
        deadline = time.monotonic() + 10
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


def test_progress_and_data_are_sent_at_once(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    job = grabbed.result(10)
    job.status(1, 10)
    peer.expect(T.WORK_STATUS, b"H:x:1", b"1", b"10")
    job.data(b"a\0b")
    peer.expect(T.WORK_DATA, b"H:x:1", b"a\0b")
    job.warning("careful")
    peer.expect(T.WORK_WARNING, b"H:x:1", b"careful")
    job.exception(b"boom")
    worker.flush()
    peer.expect(T.WORK_EXCEPTION, b"H:x:1", b"boom")


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


def test_a_job_can_be_answered_only_once(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"f", b"", b"")
    job = grabbed.result(10)
    job.complete("text")
    for again in (job.complete, job.fail, lambda: job.data(b""), lambda: job.status(1, 1)):
        with pytest.raises(JobAnswered, match="H:x:1"):
            again()


def test_a_function_registered_during_sleep_is_announced_and_its_jobs_are_requested(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab, 0.2)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    assert grabbed.result(10) is None
    worker.register("g")
    worker.register("g")
    grabbed = in_thread(worker.grab)
    peer.expect(T.CAN_DO, b"g")
    peer.expect(T.GRAB_JOB_UNIQ)
    peer.send(T.JOB_ASSIGN_UNIQ, b"H:x:1", b"g", b"", b"")
    assert grabbed.result(10).function == "g"
    worker.unregister("g")
    worker.unregister("never registered")
    peer.expect(T.CANT_DO, b"g")


def test_names_that_the_protocol_cannot_carry_are_refused(worker: Worker, scripted_server: ScriptedServer) -> None:
    with pytest.raises(ArgumentError, match="must not be empty"):
        worker.register("")
    with pytest.raises(ArgumentError, match="zero byte"):
        worker.register("a\0b")
    with pytest.raises(ArgumentError, match="client id"):
        Worker(scripted_server.address, WorkerSettings(client_id="a\0b"))


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
