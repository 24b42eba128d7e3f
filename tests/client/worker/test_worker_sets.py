"""A worker that gets several jobs at once: against a scripted server, for what the bytes are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest

from gearman_client import ArgumentError, Batch, JobAnswered, Worker, WorkerJob, WorkerSettings
from gearman_client.extensions import (
    CAN_DO_MANY,
    GRAB_JOBS,
    JOB_ASSIGN_ATTEMPT,
    JOBS_ASSIGNED,
    JOBS_COMPLETE,
    PLAIN_JOBS_ASSIGNED,
    RETURN_JOBS,
    SET_RETURN_KEY,
)
from gearman_client.packet import PacketType, encode_response, encode_workloads
from gearman_client.worker.worker import LOOK_INTERVAL_S

from ..conftest import DEADLINE_S, Peer, RecordingObserver, ScriptedServer

KEY = b"0123456789abcdef"
InThread = Callable[..., "Future[Any]"]


def greet(
    peer: Peer,
    *functions: bytes,
    batches: dict[bytes, tuple[bytes, bytes]] | None = None,
    number: int = 1,
    most: bytes = b"3",
) -> None:
    """Play a server with the extension up to the worker's first GRAB_JOBS, which is read too."""
    peer.expect(PacketType.OPTION_REQ, b"job-attempt")
    for function in functions:
        peer.expect(PacketType.CAN_DO, function)
    peer.send(PacketType.OPTION_RES, b"job-attempt")
    peer.expect(PacketType.OPTION_REQ, b"grab-many")
    peer.expect_options()
    peer.send(PacketType.OPTION_RES, b"grab-many")
    peer.send(PacketType.OPTION_RES, b"job-failure")
    peer.expect(PacketType.OPTION_REQ, b"plain-sets")
    for function, numbers in (batches or {}).items():
        peer.expect(CAN_DO_MANY, function, *numbers)
    expect_grab(peer, number, most)


def expect_grab(peer: Peer, number: int, most: bytes = b"3") -> None:
    """Read the request for a set; each has another key."""
    peer.expect(SET_RETURN_KEY, b"%b-%d" % (KEY, number))
    peer.expect(GRAB_JOBS, most)


def assign(peer: Peer, *handles: bytes, announced: int | None = None) -> None:
    peer.send(JOBS_ASSIGNED, b"%d" % (len(handles) if announced is None else announced))
    for handle in handles:
        peer.send(JOB_ASSIGN_ATTEMPT, handle, b"f", b"", b"1", b"w")


def grabbing(
    server: ScriptedServer, many: Worker, in_thread: InThread, *handles: bytes, announced: int | None = None
) -> tuple[Peer, Future[Any]]:
    """The server's side, after it has answered the first grab with these jobs, and the grab."""
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = server.accept()
    greet(peer, b"f")
    assign(peer, *handles, announced=announced)
    return peer, grabbed


@pytest.fixture
def many(scripted_server: ScriptedServer) -> Any:
    """A worker for f that asks for three jobs at once."""
    settings = WorkerSettings(reply_timeout_s=0.3, prefetch=3, return_key=KEY)
    with Worker(scripted_server.address, settings) as worker:
        worker.register("f")
        yield worker
        scripted_server.close()


def test_the_jobs_of_one_answer_come_together_and_their_answers_leave_with_the_next_grab(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing(scripted_server, many, in_thread, b"H:1", b"H:2")
    jobs = grabbed.result(DEADLINE_S)
    assert [(job.handle, job.function, job.attempt, job.workload) for job in jobs] == [
        ("H:1", "f", 1, b"w"),
        ("H:2", "f", 1, b"w"),
    ]
    for job in jobs:
        job.complete(b"r")
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    complete = int(PacketType.WORK_COMPLETE)
    key = int(SET_RETURN_KEY), b"%b-2" % KEY
    assert peer.read_once() == [(complete, b"H:1\0r"), (complete, b"H:2\0r"), key, (GRAB_JOBS, b"3")]
    assign(peer, b"H:3")
    assert len(grabbed.result(DEADLINE_S)) == 1


def test_a_thousand_jobs_may_come_in_a_packet_each(scripted_server: ScriptedServer, in_thread: InThread) -> None:
    with Worker(scripted_server.address, WorkerSettings(prefetch=1000, return_key=KEY)) as worker:
        worker.register("f")
        grabbed = in_thread(worker.grab_many, DEADLINE_S)
        peer = scripted_server.accept()
        greet(peer, b"f", most=b"1000")
        assign(peer, *[b"H:%d" % number for number in range(1000)])
        assert len(grabbed.result(DEADLINE_S)) == 1000
        scripted_server.close()


def test_no_job_ends_the_wait_with_an_empty_list(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    grabbed = in_thread(many.grab_many, 0.05)
    peer = scripted_server.accept()
    greet(peer, b"f")
    peer.put_to_sleep()
    assert grabbed.result(DEADLINE_S) == []


def test_batches_are_registered_in_the_greeting_and_later(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    many.register("b", batch=Batch(100, 0.05))
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = scripted_server.accept()
    greet(peer, b"f", b"b", batches={b"b": (b"100", b"50")})
    assign(peer, b"H:1")
    grabbed.result(DEADLINE_S)
    many.register("c", batch=Batch(2))
    peer.expect(CAN_DO_MANY, b"c", b"2", b"0")


def test_a_server_without_the_extension_gives_one_job_at_a_time(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.send(PacketType.JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"w")
    [job] = grabbed.result(DEADLINE_S)
    many.give_back([job])  # it can't: the server does not know how
    job.complete()
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer.expect(PacketType.WORK_COMPLETE, b"H:1", b"")
    peer.expect(PacketType.GRAB_JOB_UNIQ)
    peer.put_to_sleep()
    many.stop()
    assert grabbed.result(DEADLINE_S) == []


def test_a_server_of_an_older_version_is_asked_once(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = scripted_server.accept()
    peer.expect(PacketType.OPTION_REQ, b"job-attempt")
    peer.expect(PacketType.CAN_DO, b"f")
    peer.send(PacketType.OPTION_RES, b"job-attempt")
    peer.expect(PacketType.OPTION_REQ, b"grab-many")
    peer.expect_options()
    for _ in range(3):
        peer.send(PacketType.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
    peer.expect(PacketType.GRAB_JOB_UNIQ)
    peer.send(JOB_ASSIGN_ATTEMPT, b"H:1", b"f", b"", b"2", b"w")
    [job] = grabbed.result(DEADLINE_S)
    assert (job.attempt, job.server_is_ours) == (2, True)


def test_jobs_that_are_not_begun_are_given_back(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing(scripted_server, many, in_thread, b"H:1", b"H:2", b"H:3")
    jobs = grabbed.result(DEADLINE_S)
    jobs[0].complete()
    many.give_back(jobs)
    peer.expect(PacketType.WORK_COMPLETE, b"H:1", b"")
    peer.expect(RETURN_JOBS, b"", b"H:2", b"H:3")


def test_work_runs_the_jobs_of_an_answer_and_gives_back_those_beyond_its_number(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    many.register("f", lambda job: job.handle)
    worked = in_thread(many.work, max_jobs=4)
    peer = scripted_server.accept()
    greet(peer, b"f")
    assign(peer, b"H:1", b"H:2", b"H:3")
    for handle in (b"H:1", b"H:2", b"H:3"):
        peer.expect(PacketType.WORK_COMPLETE, handle, handle)
    expect_grab(peer, 2)
    assign(peer, b"H:4", b"H:5", b"H:6")
    peer.expect(PacketType.WORK_COMPLETE, b"H:4", b"H:4")
    peer.expect(RETURN_JOBS, b"", b"H:5", b"H:6")
    assert worked.result(DEADLINE_S) == 4


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_ends_the_program_leaves_no_job_behind(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread, ending: type[BaseException]
) -> None:
    def end(_job: WorkerJob) -> str:
        raise ending

    many.register("f", end)
    worked = in_thread(many.work)
    peer = scripted_server.accept()
    greet(peer, b"f")
    assign(peer, b"H:1", b"H:2", b"H:3")
    peer.expect(RETURN_JOBS, b"", b"H:2", b"H:3")
    with pytest.raises(ending):
        worked.result(DEADLINE_S)


@pytest.mark.parametrize("announced", [0, 1001])
def test_an_impossible_number_of_jobs_ends_the_connection(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread, announced: int
) -> None:
    _, grabbed = grabbing(scripted_server, many, in_thread, announced=announced)
    greet(scripted_server.accept(), b"f", number=2)
    many.stop()
    scripted_server.peers[-1].send(PacketType.NO_JOB)
    assert grabbed.result(DEADLINE_S) == []


def set_of(announced: int, *assignments: tuple[bytes, ...], behind: bytes = b"") -> bytes:
    """The bytes of a set, for one write."""
    jobs = [encode_response(JOB_ASSIGN_ATTEMPT, *each) for each in assignments]
    return b"".join((encode_response(JOBS_ASSIGNED, b"%d" % announced), *jobs, behind))


def test_a_set_that_comes_in_one_piece_is_understood_as_in_many(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    jobs = [(b"H:1", b"f", b"u", b"1", b"w\0w"), (b"H:20", b"f", b"", b"12", b""), (b"H:3", b"g", b"", b"1", b"w")]
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = scripted_server.accept()
    greet(peer, b"f")
    for number, behind in enumerate((b"", encode_response(PacketType.NOOP)), 1):
        peer.socket.sendall(set_of(3, *jobs, behind=behind))
        got = grabbed.result(DEADLINE_S)
        assert [(job.handle, job.function, job.unique, job.attempt, job.workload) for job in got] == [
            ("H:1", "f", "u", 1, b"w\0w"),
            ("H:20", "f", "", 12, b""),
            ("H:3", "g", "", 1, b"w"),
        ]
        assert not any(job.is_lost or job.answered for job in got)
        grabbed = in_thread(many.grab_many, DEADLINE_S)
        expect_grab(peer, number + 1)
    peer.send(PacketType.NO_JOB)
    many.stop()
    assert grabbed.result(DEADLINE_S) == []


@pytest.mark.parametrize(
    "answer",
    [
        set_of(2, (b"H:1", b"f", b"", b"1", b"w"), (b"H:2", b"f", b"", b"1")),
        set_of(2, (b"H:1", b"f", b"", b"1", b"w"), (b"H:2", b"f", b"", b"one", b"w")),
        set_of(2, (b"H:1", b"f", b"", b"1", b"w"), (b"H:2", b"f", b"", b"1", b"w"), behind=set_of(1)),
    ],
)
def test_a_set_that_can_not_be_read_ends_the_connection(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread, answer: bytes
) -> None:
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = scripted_server.accept()
    greet(peer, b"f")
    peer.socket.sendall(answer)
    peer = scripted_server.accept()
    greet(peer, b"f", number=2)
    assign(peer, b"H:3")
    assert [job.handle for job in grabbed.result(DEADLINE_S)] == ["H:3"]


def test_a_connection_that_breaks_in_the_middle_of_an_answer_leaves_no_job(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing(scripted_server, many, in_thread, b"H:1", announced=2)
    peer.close()
    peer = scripted_server.accept()
    greet(peer, b"f", number=2)
    assign(peer, b"H:1", b"H:2")
    assert [job.handle for job in grabbed.result(DEADLINE_S)] == ["H:1", "H:2"]


@pytest.mark.parametrize(
    "settings",
    [
        WorkerSettings(prefetch=0),
        WorkerSettings(prefetch=1001),
        WorkerSettings(prefetch=True),
        WorkerSettings(return_key=b"short"),
        WorkerSettings(return_key=b"x" * 41),
        WorkerSettings(return_key=b"\0" * 16),
    ],
)
def test_impossible_settings_are_refused(settings: WorkerSettings) -> None:
    with pytest.raises(ArgumentError):
        Worker("127.0.0.1", settings)


@pytest.mark.parametrize("batch", [Batch(0), Batch(1001), Batch(2, -1), Batch(2, 61)])
def test_impossible_batches_are_refused(batch: Batch) -> None:
    with Worker("127.0.0.1") as worker, pytest.raises(ArgumentError):
        worker.register("f", batch=batch)


def test_a_batch_has_no_callback() -> None:
    with Worker("127.0.0.1") as worker, pytest.raises(ArgumentError):
        worker.register("f", lambda job: None, batch=Batch(2))


def test_between_two_jobs_a_look_tells_of_a_lost_server(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing(scripted_server, many, in_thread, b"H:1", b"H:2")
    jobs = grabbed.result(DEADLINE_S)
    assert many.set_number == 1
    assert many.look()
    assert not jobs[1].is_lost
    peer.close()
    deadline = monotonic() + DEADLINE_S
    while not jobs[1].is_lost and monotonic() < deadline:
        assert many.look()
    assert jobs[1].is_lost


def test_between_two_jobs_a_look_tells_of_a_stop_and_of_an_interrupt(many: Worker) -> None:
    reader, writer = os.pipe()
    many.interrupt_on(reader)
    assert many.look()
    os.close(writer)
    deadline = monotonic() + DEADLINE_S
    while many.look() and monotonic() < deadline:
        pass
    assert not many.look()
    os.close(reader)
    many.stop()
    assert not many.look()


def test_work_begins_no_job_of_a_lost_server(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    begun: list[str] = []
    may_go_on = Event()

    def run(job: WorkerJob) -> None:
        begun.append(job.handle)
        assert may_go_on.wait(DEADLINE_S)
        sleep(2 * LOOK_INTERVAL_S)  # a look is worth something once a millisecond

    many.register("f", run)
    worked = in_thread(many.work)
    peer = scripted_server.accept()
    greet(peer, b"f")
    assign(peer, b"H:1", b"H:2", b"H:3")
    peer.close()
    may_go_on.set()
    peer = scripted_server.accept()
    greet(peer, b"f", number=2)
    assert begun == ["H:1"]
    many.stop()
    peer.send(PacketType.NO_JOB)
    worked.result(DEADLINE_S)


def grabbing_lists(server: ScriptedServer, many: Worker, in_thread: InThread) -> tuple[Peer, Future[Any]]:
    """As `grabbing`, of a server that knows sets in one packet, up to the first grab."""
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    peer = server.accept()
    greet(peer, b"f")
    peer.send(PacketType.OPTION_RES, b"plain-sets")
    return peer, grabbed


def assign_list(peer: Peer, *handles: bytes) -> None:
    count, uniques = b"%d" % len(handles), [b""] * len(handles)
    peer.send(PLAIN_JOBS_ASSIGNED, b"f", count, *handles, *uniques, encode_workloads([b"w"] * len(handles)))


def test_a_set_in_one_packet_and_its_ends_in_another(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    workloads = encode_workloads([b"a\0b", b"", b"c"])
    peer.send(PLAIN_JOBS_ASSIGNED, b"f", b"3", b"H:1", b"H:2", b"H:3", b"u", b"", b"", workloads)
    jobs = grabbed.result(DEADLINE_S)
    assert [(job.handle, job.function, job.unique, job.attempt, job.workload) for job in jobs] == [
        ("H:1", "f", "u", 1, b"a\0b"),
        ("H:2", "f", "", 1, b""),
        ("H:3", "f", "", 1, b"c"),
    ]
    jobs[0].complete()
    jobs[1].complete(b"")
    jobs[2].complete(None)
    assert all(job.answered for job in jobs)
    with pytest.raises(JobAnswered):
        jobs[0].complete()
    grabbed = in_thread(many.grab_many, DEADLINE_S)
    key = int(SET_RETURN_KEY), b"%b-2" % KEY
    assert peer.read_once() == [(JOBS_COMPLETE, b"H:1\0H:2\0H:3"), key, (GRAB_JOBS, b"3")]
    assign_list(peer, b"H:4")
    assert len(grabbed.result(DEADLINE_S)) == 1


def test_the_server_hears_of_everything_in_its_order(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    assign_list(peer, b"H:1", b"H:2", b"H:3")
    first, second, third = grabbed.result(DEADLINE_S)
    first.complete()
    second.data(b"d")
    assert peer.read_once() == [(JOBS_COMPLETE, b"H:1"), (PacketType.WORK_DATA, b"H:2\0d")]
    second.complete()
    third.complete(b"r")
    many.flush()
    assert peer.read_once() == [(JOBS_COMPLETE, b"H:2"), (PacketType.WORK_COMPLETE, b"H:3\0r")]


def test_the_server_hears_of_what_has_ended_before_a_function_is_withdrawn_or_added(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    assign_list(peer, b"H:1", b"H:2", b"H:3")
    first, second, _ = grabbed.result(DEADLINE_S)
    first.complete()
    many.register("g")
    assert peer.read_once() == [(JOBS_COMPLETE, b"H:1"), (PacketType.CAN_DO, b"g")]
    second.complete()
    many.unregister("f")  # behind it the server would take the job that is done back into its queue
    assert peer.read_once() == [(JOBS_COMPLETE, b"H:2"), (PacketType.CANT_DO, b"f")]


def test_what_has_ended_leaves_with_a_flush_with_the_single_grab_and_at_the_end(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    assign_list(peer, b"H:1", b"H:2", b"H:3")
    jobs = grabbed.result(DEADLINE_S)
    jobs[0].complete()
    many.flush()
    peer.expect(JOBS_COMPLETE, b"H:1")
    jobs[1].complete()
    grabbed = in_thread(many.grab, DEADLINE_S)
    peer.expect(JOBS_COMPLETE, b"H:2")
    peer.expect(PacketType.GRAB_JOB_UNIQ)
    peer.send(JOB_ASSIGN_ATTEMPT, b"H:4", b"f", b"", b"1", b"w")
    grabbed.result(DEADLINE_S)
    jobs[2].complete()
    closing = in_thread(many.close)
    assert peer.read_to_end() == [(JOBS_COMPLETE, b"H:3")]
    peer.close()
    closing.result(DEADLINE_S)


def test_a_result_of_another_type_is_still_refused(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    assign_list(peer, b"H:1")
    [job] = grabbed.result(DEADLINE_S)
    with pytest.raises(ArgumentError):
        job.complete(0)
    job.complete("")
    many.flush()
    peer.expect(PacketType.WORK_COMPLETE, b"H:1", b"")


def test_ends_that_are_not_sent_when_the_connection_breaks_are_reported(
    scripted_server: ScriptedServer, observer: RecordingObserver, in_thread: InThread
) -> None:
    settings = WorkerSettings(prefetch=3, return_key=KEY)
    with Worker(scripted_server.address, settings, observer=observer) as worker:
        worker.register("f")
        peer, grabbed = grabbing_lists(scripted_server, worker, in_thread)
        assign_list(peer, b"H:1", b"H:2")
        first, second = grabbed.result(DEADLINE_S)
        first.complete()
        peer.close()
        deadline = monotonic() + DEADLINE_S
        while not second.is_lost and monotonic() < deadline:
            worker.look()
        second.complete()
        assert [event[-1] for event in observer.named("result_lost")] == ["H:1", "H:2"]


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"f"],
        [b"f", b"1"],
        [b"f", b"0", b""],
        [b"f", b"1001", *[b""] * 3000],
        [b"f", b"1", b"H:1"],
        [b"f", b"1", b"H:1", b"", b"\0\0\0"],
        [b"f", b"1", b"H:1", b"", b"\0\0\0\2w"],
        [b"f", b"2", b"H:1", b"", b"\0\0\0\1w"],
        [b"f", b"x", b"H:1", b"", b"\0\0\0\0"],
    ],
)
def test_a_set_in_one_packet_that_can_not_be_read_ends_the_connection(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread, parts: list[bytes]
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    peer.send(PLAIN_JOBS_ASSIGNED, *parts)
    peer = scripted_server.accept()
    greet(peer, b"f", number=2)
    assign(peer, b"H:3")
    assert [job.handle for job in grabbed.result(DEADLINE_S)] == ["H:3"]


def test_a_set_in_one_packet_within_another_ends_the_connection(
    scripted_server: ScriptedServer, many: Worker, in_thread: InThread
) -> None:
    peer, grabbed = grabbing_lists(scripted_server, many, in_thread)
    peer.send(JOBS_ASSIGNED, b"2")
    assign_list(peer, b"H:1", b"H:2")
    peer = scripted_server.accept()
    greet(peer, b"f", number=2)
    assign(peer, b"H:3")
    assert [job.handle for job in grabbed.result(DEADLINE_S)] == ["H:3"]
