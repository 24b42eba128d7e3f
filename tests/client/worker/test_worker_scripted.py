"""The worker against a scripted server: its greeting, the packets of one write, its answers, odd packets."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import ArgumentError, JobAnswered, Worker, WorkerSettings
from gearman_client.extensions import JOB_ASSIGN_ATTEMPT, JOB_ASSIGN_WITH, WORK_FAILURE
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


def test_values_of_a_wrong_type_are_refused_by_their_name(worker: Worker, scripted_server: ScriptedServer) -> None:
    wrong: list[tuple[str, Callable[[], Any]]] = [
        ("the function name 5", lambda: worker.register(5)),  # type: ignore[arg-type]
        ("callback of f is str", lambda: worker.register("f", "g")),  # type: ignore[arg-type]
        ("timeout_s '5'", lambda: worker.grab("5")),  # type: ignore[arg-type]
        ("max_jobs '5'", lambda: worker.work(max_jobs="5")),  # type: ignore[arg-type]
        ("reply_timeout_s '5'", lambda: Worker("a", WorkerSettings(reply_timeout_s="5"))),  # type: ignore[arg-type]
        ("max_backoff_s None", lambda: Worker("a", WorkerSettings(max_backoff_s=None))),  # type: ignore[arg-type]
        ("client id 5", lambda: Worker("a", WorkerSettings(client_id=5))),  # type: ignore[arg-type]
    ]
    for complaint, call in wrong:
        with pytest.raises(ArgumentError, match=complaint):
            call()


def test_options_of_a_job_are_read_and_unknown_ones_passed_over(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f", ours=True)
    pairs = b"timeout=1500", b"tag=a", b"tag=b", b"key=k", b"priority=9", b"header:x=1=2", b"batch=b", b"new=?"
    peer.send(JOB_ASSIGN_WITH, b"H:x:1", b"f", b"u", b"3", *pairs, b"", b"a\0\0b")
    job = grabbed.result(10)
    assert (job.attempt, job.unique, job.workload) == (3, "u", b"a\0\0b")
    assert job.batch == "b"
    assert (job.timeout_s, job.tags, job.key, job.priority, dict(job.headers)) == (
        1.5,
        ("a", "b"),
        "k",
        9,
        {"x": "1=2"},
    )


def test_headers_become_json_also_without_any(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f", ours=True)
    peer.send(JOB_ASSIGN_ATTEMPT, b"H:x:1", b"f", b"u", b"1", b"w")
    assert json.dumps(grabbed.result(10).headers) == "{}"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((b"H:x:1", b"f", b"", b"1", b"timeout=1.5", b"", b"w"), "the timeout of an assigned job is not a number"),
        ((b"H:x:1", b"f", b"", b"1", b"priority=10", b"", b"w"), "the priority of an assigned job is not a number"),
        ((b"H:x:1", b"f", b"", b"x", b"tag=a", b"", b"w"), "the attempt of an assigned job is not a number"),
        ((b"H:x:1", b"f", b"", b"1", b"tag=a"), "an empty pair ends the pairs, and it is missing"),
        ((b"H:x:1", b"f", b"", b"1", b"tag", b"", b"w"), "'tag' is no pair key=value"),
        ((b"H:x:1", b"f"), "can't be read"),
    ],
)
def test_options_that_can_not_be_read_end_the_connection(
    arguments: tuple[bytes, ...],
    reason: str,
    worker: Worker,
    observer: RecordingObserver,
    scripted_server: ScriptedServer,
    in_thread: Callable[..., Future[Any]],
) -> None:
    grabbed = in_thread(worker.grab)
    peer = scripted_server.accept()
    peer.greet(b"f", ours=True)
    peer.send(JOB_ASSIGN_WITH, *arguments)
    scripted_server.accept()
    [(_, _, told)] = observer.named("disconnected")
    assert reason in told
    worker.stop()
    assert grabbed.result(10) is None
