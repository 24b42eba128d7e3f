"""Group commit: the replies that wait for the store, and the effects of its outcome. The test says when it commits."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import Identity
from gearman_server.jobs.durability import UNKNOWN_PATIENCE_S
from gearman_server.jobs.events import StoreFailed, StoreRecovered
from gearman_server.jobs.session import Session, WithheldReply
from gearman_server.jobs.store import InsertsLate, Verdict

from ..broker_harness import UNIX_TIME, DurableBroker, Peer

CREATED = PacketType.JOB_CREATED
COMPLETE = PacketType.WORK_COMPLETE
NOT_STORED = (PacketType.ERROR, b"QUEUE_ERROR\0The job could not be stored")


def submit_background(peer: Peer, unique: bytes = b"", workload: bytes = b"w") -> list[tuple[int, bytes]]:
    return peer.ask(PacketType.SUBMIT_JOB_BG, b"f", unique, workload)


def test_a_background_submission_is_answered_after_its_commit_but_runs_at_once(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    assert submit_background(client) == []
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() == b"H:test:1"
    durable.commit()
    assert client.take() == [(CREATED, b"H:test:1")]
    assert durable.store.rows == {b"H:test:1": b"w"}
    assert durable.broker.touched == {client.session, worker.session}


def test_a_foreground_submission_does_not_wait_for_the_store(durable: DurableBroker) -> None:
    client = durable.peer()
    assert client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"") == [(CREATED, b"H:test:1")]
    assert durable.store.batch == []


def test_answers_behind_a_withheld_reply_on_its_connection_wait_and_keep_their_order(
    durable: DurableBroker,
) -> None:
    client, other = durable.peer(), durable.peer()
    client.submit(b"f", kind="SUBMIT_JOB")
    submit_background(client)
    assert client.ask(PacketType.ECHO_REQ, b"1") == []
    durable.store.start_commit()
    submit_background(client)
    assert client.ask(PacketType.ECHO_REQ, b"2") == []
    assert client.text(b"version") == b""
    assert other.ask(PacketType.ECHO_REQ, b"not held up") == [(PacketType.ECHO_RES, b"not held up")]
    durable.broker._inserts.written(durable.store.write())
    assert client.take() == [(CREATED, b"H:test:2"), (PacketType.ECHO_RES, b"1")]
    durable.commit()
    assert client.session.out[:3] == [
        b"\0RES\0\0\0\x08\0\0\0\x08H:test:3",
        b"\0RES\0\0\0\x11\0\0\0\x012",
        b"OK 1.2.3\n",
    ]
    client.session.out.clear()
    assert client.ask(PacketType.ECHO_REQ, b"3") == [(PacketType.ECHO_RES, b"3")]
    assert client.session.withheld_bytes == 0


def test_a_job_that_ends_before_its_insert_is_acknowledged_and_never_written(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    worker.send(COMPLETE, worker.grab_handle(), b"r")
    assert client.take() == [(CREATED, b"H:test:1")]
    durable.commit()
    assert client.take() == []
    assert durable.store.rows == {}


def test_a_job_that_ends_while_its_insert_is_being_written_leaves_no_row(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    durable.store.start_commit()
    worker.send(COMPLETE, worker.grab_handle(), b"r")
    assert client.take() == [(CREATED, b"H:test:1")]
    durable.broker._inserts.written(durable.store.write())
    assert client.take() == []
    assert durable.store.rows == {}


def test_the_end_of_a_stored_job_deletes_its_row(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    durable.commit()
    worker.send(COMPLETE, worker.grab_handle(), b"r")
    durable.commit()
    assert durable.store.rows == {}


def test_job_created_precedes_the_jobs_results_on_a_connection(durable: DurableBroker) -> None:
    # The client asks in the background, then once more in the foreground: both on one connection.
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client, b"u")
    assert client.ask(PacketType.SUBMIT_JOB, b"f", b"u", b"w") == []
    handle = worker.grab_handle()
    worker.send(PacketType.WORK_DATA, handle, b"d")
    assert client.take() == []
    worker.send(COMPLETE, handle, b"r")
    assert client.take() == [
        (CREATED, handle),
        (CREATED, handle),
        (PacketType.WORK_DATA, handle + b"\0d"),
        (COMPLETE, handle + b"\0r"),
    ]


def test_a_later_job_that_ends_early_still_waits_for_the_reply_before_it(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f", b"g")
    submit_background(client)
    client.send(PacketType.SUBMIT_JOB_HIGH_BG, b"f", b"", b"second")
    second = worker.grab_handle()
    assert second == b"H:test:2"
    worker.send(COMPLETE, second, b"r")
    assert client.take() == []
    durable.commit()
    assert client.take() == [(CREATED, b"H:test:1"), (CREATED, b"H:test:2")]


def test_a_failed_insert_answers_queue_error_in_place_of_job_created_and_removes_the_job(
    durable: DurableBroker,
) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    client.send(PacketType.ECHO_REQ, b"behind")
    durable.fail()
    assert client.take() == [NOT_STORED, (PacketType.ECHO_RES, b"behind")]
    assert worker.grab() is None
    assert durable.status(b"f") == (0, 0, 1)
    assert durable.store.rows == {}


def test_a_job_that_runs_is_never_refused_though_its_insert_fails(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    handle = worker.grab_handle()
    durable.fail()
    assert client.take() == []
    worker.send(COMPLETE, handle, b"r")
    assert client.take() == [(CREATED, handle)]
    durable.commit()
    assert durable.store.rows == {}
    assert durable.status(b"f") == (0, 0, 1)


def test_a_job_that_has_run_is_inserted_again_whatever_became_of_its_attempt(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    handle = worker.grab_handle()
    worker.leave()
    durable.fail()
    assert client.take() == []
    assert durable.status(b"f") == (1, 0, 0)
    durable.commit()
    assert client.take() == [(CREATED, handle)]
    assert list(durable.store.rows) == [handle]


def test_a_job_that_the_database_does_not_take_is_answered_at_its_end_if_it_runs(durable: DurableBroker) -> None:
    client, other, worker = durable.peer(), durable.peer(), durable.worker(b"f")
    submit_background(client, b"u")
    handle = worker.grab_handle()
    submit_background(other, b"v")
    durable.fail(are_refused=True)
    assert (client.take(), other.take()) == ([], [NOT_STORED])
    assert durable.store.batch == []
    worker.send(COMPLETE, handle, b"r")
    assert client.take() == [(CREATED, handle)]
    assert worker.grab() is None


def test_a_foreground_client_keeps_a_job_whose_insert_fails_and_nobody_is_told_that_it_does_not_run(
    durable: DurableBroker,
) -> None:
    client, waiting, worker = durable.peer(), durable.peer(), durable.worker(b"f")
    submit_background(client, b"u")
    handle = waiting.submit(b"f", unique=b"u")
    durable.fail()
    assert client.take() == []
    assert worker.grab() == handle
    worker.send(COMPLETE, handle, b"r")
    assert waiting.take() == [(COMPLETE, handle + b"\0r")]
    assert client.take() == [(CREATED, handle)]


def test_a_job_that_may_be_stored_is_neither_refused_nor_given_out_before_that_is_known(
    durable: DurableBroker,
) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    durable.fail(are_unknown=True)
    durable.fail()  # the repetition fails for sure, but what became of the first attempt?
    assert (client.take(), worker.grab()) == ([], None)
    assert durable.status(b"f") == (1, 0, 1)
    worker.send(PacketType.PRE_SLEEP)
    durable.commit()
    assert client.take() == [(CREATED, b"H:test:1")]
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() == b"H:test:1"


def test_whoever_waits_too_long_to_hear_whether_a_job_is_stored_loses_the_connection(durable: DurableBroker) -> None:
    client, twin, other = durable.peer(), durable.peer(), durable.peer()
    submit_background(client, b"u")
    submit_background(twin, b"u")
    submit_background(other)
    durable.fail(are_unknown=True)
    durable.advance(UNKNOWN_PATIENCE_S - 1)
    assert client.session.ending is None
    other.leave()
    durable.advance(1)
    assert client.session.ending == twin.session.ending == "the store does not say whether a job was stored"
    durable.commit()
    assert sorted(durable.store.rows) == [b"H:test:1", b"H:test:2"]  # nobody was told that they are not
    durable.advance(UNKNOWN_PATIENCE_S)


# --- while the store is in trouble, or slow

TROUBLES = [(InsertsLate(True), InsertsLate(False)), (StoreFailed("no space left"), StoreRecovered())]


@pytest.mark.parametrize(("trouble", "end"), TROUBLES)
def test_in_trouble_jobs_are_given_out_only_after_their_commit(
    durable: DurableBroker, trouble: Verdict, end: Verdict
) -> None:
    client, worker = durable.peer(), durable.worker(b"f", b"g")
    submit_background(client)
    submit_background(client)
    foreground = durable.peer().submit(b"f")
    durable.store.start_commit()
    submit_background(client)
    durable.tell(trouble)
    client.send(PacketType.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"sum", b"", b"w")
    client.send(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % UNIX_TIME, b"w")
    assert worker.grab() == foreground  # it needs no store
    assert worker.grab() is None
    assert durable.status(b"f") == (6, 1, 1)
    assert client.text(b"jobs list function=f").count(b"\twaiting\t") == 0  # behind the withheld answers
    worker.send(PacketType.PRE_SLEEP)
    durable.broker._inserts.written(durable.store.write())
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert [worker.grab(), worker.grab(), worker.grab()] == [b"H:test:1", b"H:test:2", None]
    durable.tell(end)
    submit_background(client)
    assert worker.grab() == b"H:test:7"  # the fast path is back
    durable.commit()
    assert [worker.grab(), worker.grab(), worker.grab()] == [b"H:test:4", b"H:test:5", b"H:test:6"]


@pytest.mark.parametrize(("trouble", "_end"), TROUBLES)
def test_a_refused_job_has_not_run_and_a_held_one_can_be_cancelled(
    durable: DurableBroker, trouble: Verdict, _end: Verdict
) -> None:
    client, operator, worker = durable.peer(), durable.peer(), durable.worker(b"f")
    submit_background(client)
    durable.tell(trouble)
    submit_background(client)
    submit_background(client)
    answer = operator.text(b"cancel job H:test:2")
    durable.fail()
    assert client.take() == [NOT_STORED, (CREATED, b"H:test:2"), NOT_STORED]
    assert worker.grab() is None
    assert durable.status(b"f") == (0, 0, 1)
    durable.commit()
    durable.broker.settle()
    assert answer + operator.take_bytes() == b"OK\r\n"


@pytest.mark.parametrize(("trouble", "end"), TROUBLES)
def test_jobs_are_held_and_released_again_after_one_of_them_was_cancelled_and_another_released(
    durable: DurableBroker, trouble: Verdict, end: Verdict
) -> None:
    client, waiting, operator, worker = durable.peer(), durable.peer(), durable.peer(), durable.worker(b"f")
    durable.tell(trouble)
    for unique in (b"cancelled", b"joined", b"held"):
        submit_background(client, unique)
    answer = operator.text(b"cancel job H:test:1")
    waiting.submit(b"f", unique=b"joined")
    assert [worker.grab(), worker.grab()] == [b"H:test:2", None]
    durable.commit()
    assert [worker.grab(), worker.grab()] == [b"H:test:3", None]
    durable.tell(end)
    submit_background(client)
    assert worker.grab() == b"H:test:4"
    assert answer + operator.take_bytes() == b"OK\r\n"


def test_a_foreground_client_that_joins_a_held_job_gets_it_run_at_once(durable: DurableBroker) -> None:
    client, waiting, worker = durable.peer(), durable.peer(), durable.worker(b"f")
    durable.tell(InsertsLate(True))
    submit_background(client, b"u")
    handle = waiting.submit(b"f", unique=b"u")
    assert worker.grab() == handle
    worker.send(COMPLETE, handle, b"r")
    assert client.take() == [(CREATED, handle)]


def test_a_delayed_job_whose_time_comes_in_trouble_waits_for_its_commit(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    client.send(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (UNIX_TIME + 5), b"w")
    durable.tell(InsertsLate(True))
    durable.advance(6)
    assert worker.grab() is None
    durable.commit()
    assert worker.grab() == b"H:test:1"


def test_a_dead_job_that_is_tried_again_is_not_given_out_before_its_commit(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    durable.commit()
    worker.send(PacketType.WORK_FAIL, worker.grab_handle())
    durable.tell(InsertsLate(True))
    operator = durable.peer()
    assert operator.text(b"dead retry H:test:1") == b""  # the answer waits for the commit
    assert worker.grab() is None
    durable.commit()
    assert worker.grab() == b"H:test:1"
    assert operator.take_bytes() == b"OK 1\n"


@pytest.mark.parametrize("outcome", ["commit", "fail"])
def test_background_submissions_that_join_a_job_during_its_insert_share_its_outcome(
    durable: DurableBroker, outcome: str
) -> None:
    one, two = durable.peer(), durable.peer()
    submit_background(one, b"u")
    durable.store.start_commit()
    assert submit_background(two, b"u") == []
    assert durable.store.batch == []
    durable.store.batch, durable.store.in_flight = durable.store.in_flight, []
    getattr(durable, outcome)()
    expected = [(CREATED, b"H:test:1")] if outcome == "commit" else [NOT_STORED]
    assert one.take() == two.take() == expected


def test_a_background_submission_that_joins_a_stored_job_is_answered_at_once(durable: DurableBroker) -> None:
    client = durable.peer()
    submit_background(client, b"u")
    durable.commit()
    client.take()
    assert submit_background(client, b"u") == [(CREATED, b"H:test:1")]


def test_a_foreground_job_that_a_background_submission_joins_is_stored_before_the_answer(
    durable: DurableBroker,
) -> None:
    foreground, background = durable.peer(), durable.peer()
    handle = foreground.submit(b"f", unique=b"u")
    assert submit_background(background, b"u") == []
    foreground.leave()
    assert durable.status(b"f") == (1, 0, 0)
    durable.commit()
    assert background.take() == [(CREATED, handle)]
    assert handle in durable.store.rows


def test_cancelling_a_job_during_its_insert_answers_its_submitter_and_leaves_no_row(durable: DurableBroker) -> None:
    client = durable.peer()
    submit_background(client)
    operator = durable.peer()
    assert operator.text(b"cancel job H:test:1") == b""  # the answer waits for the commit
    assert client.take() == [(CREATED, b"H:test:1")]
    durable.commit()
    durable.broker.settle()
    assert operator.take_bytes() == b"OK\r\n"
    assert durable.store.rows == {}


def test_a_client_that_left_before_the_commit_changes_nothing(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    client.leave()
    durable.commit()
    assert client.session.out == []
    assert worker.grab() == b"H:test:1"


def test_bytes_behind_a_withheld_reply_count_towards_the_connections_limit(
    durable: DurableBroker,
) -> None:
    client = durable.peer()
    submit_background(client)
    client.send(PacketType.ECHO_REQ, b"x" * 5000)
    assert 5000 < client.session.withheld_bytes < 6000
    durable.commit()
    assert client.session.withheld_bytes == 0


@pytest.mark.pure_core
def test_the_cost_of_releasing_replies_depends_on_their_number_alone() -> None:
    session, looks = Session(Identity("127.0.0.1")), []

    class Gap(WithheldReply):
        """A gap in the replies that counts how often it is looked at."""

        @property
        def packet(self) -> bytes | None:
            looks.append(self)
            return self.filled

        @packet.setter
        def packet(self, packet: bytes | None) -> None:
            self.filled = packet

    gaps = [Gap(session) for _ in range(500)]
    for gap in gaps:
        session.leave_gap(gap)
    for gap in (gaps[-1], *gaps[:-1]):
        gap.release(b"%d" % gaps.index(gap))
    assert session.out == [b"%d" % number for number in range(500)]
    assert session.withheld_bytes == 0
    assert len(looks) < 4 * len(gaps)
