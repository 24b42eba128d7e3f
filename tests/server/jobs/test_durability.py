"""Group commit: the replies that wait for the store, and the effects of its outcome. The test says when it commits."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import Identity
from gearman_server.jobs.session import Session, WithheldReply

from ..broker_harness import DurableBroker, Peer

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
    durable.broker.inserts_written(durable.store.write())
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
    durable.broker.inserts_written(durable.store.write())
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


def test_a_failed_insert_of_a_running_job_tells_the_submitter_and_the_job_goes_on(durable: DurableBroker) -> None:
    client, worker = durable.peer(), durable.worker(b"f")
    submit_background(client)
    handle = worker.grab_handle()
    durable.fail()
    assert client.take() == [NOT_STORED]
    assert worker.ask(COMPLETE, handle, b"r") == []
    durable.commit()
    assert durable.store.rows == {}
    assert durable.status(b"f") == (0, 0, 1)


def test_a_failed_insert_leaves_the_job_to_its_foreground_clients(durable: DurableBroker) -> None:
    client, waiting, worker = durable.peer(), durable.peer(), durable.worker(b"f")
    submit_background(client, b"u")
    handle = waiting.submit(b"f", unique=b"u")
    durable.fail()
    assert client.take() == [NOT_STORED]
    assert worker.grab() == handle
    worker.send(COMPLETE, handle, b"r")
    assert waiting.take() == [(COMPLETE, handle + b"\0r")]


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
    assert durable.peer().text(b"cancel job H:test:1") == b"OK\r\n"
    assert client.take() == [(CREATED, b"H:test:1")]
    durable.commit()
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
