"""The times at which a batch goes to the writer: one is being written, and one more may wait behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.schedule_rules import ScheduleRule
from gearman_server.options.timing import Every
from gearman_server.stores import noted_changes, sql_store
from gearman_server.stores.batch import Batch
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.small_tables import read_marks
from gearman_server.stores.sql_store import LATE_S, WELL_AFTER_S, SqlStore
from gearman_server.stores.writer import WriteOutcome, Writer

from ..broker_harness import BrokerHarness, Peer, Received
from .by_hand import HandLoop, HandWriter, writer_of

TIMEOUT_S = 3.0
NOT_STORED = [(PacketType.ERROR, b"QUEUE_ERROR\0The job could not be stored")]


class Handing:
    """A broker over a real SQLite file; the loop's passes and the writer's batches end when the test says so."""

    def __init__(self, store: SqlStore, harness: BrokerHarness, loop: HandLoop) -> None:
        self.loop, self.harness = loop, harness
        self.store = store
        store.restore_to(harness.broker)
        self.lazy, self.probe, self.overdue = self.loop.timers[:3]
        self.writer = writer_of(store)
        self.client = harness.peer()

    def submit(self, jobs: int = 1, unique: bytes = b"") -> list[Peer]:
        """Submits with a new client for each job, whose answers come later; then the pass ends."""
        clients = [self.harness.peer() for _ in range(jobs)]
        for client in clients:
            client.send(PacketType.SUBMIT_JOB_BG, b"f", unique, b"w")
        self.end_pass()
        return clients

    def end_pass(self) -> None:
        self.harness.broker.end_pass()

    @property
    def sizes(self) -> list[int]:
        """The number of inserts in each batch that the writer has."""
        return [len(order.batch.inserts) for order in self.writer.orders]


@pytest.fixture
def handing(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Handing]:
    monkeypatch.setattr(sql_store, "Writer", HandWriter)
    loop = HandLoop()
    store = SqlStore(StoreSettings(f"sqlite:///{tmp_path}/jobs.db", TIMEOUT_S), loop)
    harness = make_broker(store=store)
    monkeypatch.setattr(sql_store, "monotonic", lambda: harness.now)
    yield Handing(store, harness, loop)
    store.close()


def answers(clients: list[Peer]) -> list[list[Received]]:
    return [client.take() for client in clients]


def test_jobs_that_come_during_a_write_wait_behind_it_once_they_are_as_many(handing: Handing) -> None:
    first = handing.submit(2)
    assert handing.sizes == [2]
    second = handing.submit(1)
    assert handing.sizes == [2]
    second += handing.submit(1)
    assert handing.sizes == [2, 2]
    third = handing.submit(5)
    assert handing.sizes == [2, 2]
    handing.writer.end("succeeds")
    assert [[kind for kind, _ in answer] for answer in answers(first)] == [[PacketType.JOB_CREATED]] * 2
    assert answers(second + third) == [[]] * 7
    handing.end_pass()
    assert handing.sizes == [2, 5]


def test_a_failed_batch_does_not_affect_the_one_that_waited_behind_it(handing: Handing) -> None:
    [first], [second] = handing.submit(), handing.submit()
    assert handing.sizes == [1, 1]
    handing.writer.end("fails")
    handing.writer.end("succeeds")
    assert first.take() == NOT_STORED
    assert [kind for kind, _ in second.take()] == [PacketType.JOB_CREATED]


def test_an_entry_that_depends_on_the_batch_before_waits_for_its_outcome(handing: Handing) -> None:
    handing.submit()
    worker = handing.harness.worker(b"f")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    handing.submit(2)
    assert handing.sizes == [1]  # the delete of a row waits while its insert is being written


def test_nothing_is_handed_over_behind_a_batch_while_the_store_is_in_trouble(handing: Handing) -> None:
    handing.submit()
    handing.writer.end("fails")
    handing.submit()
    handing.submit()
    assert handing.sizes == [1]


def test_the_number_of_jobs_to_undo_is_limited_however_long_the_trouble_lasts(
    handing: Handing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_store, "MAX_UNDONE", 3)
    clients = []
    for _ in range(4):
        clients += handing.submit()
        handing.writer.end("is lost")
    assert answers(clients) == [[]] * 4  # each may be stored
    for _ in range(3):
        assert answers(handing.submit(2)) == [NOT_STORED] * 2
        assert handing.sizes == []
        handing.probe.fire_once()
        assert len(handing.writer.orders[0].batch.deletes) == 4
        handing.writer.end("fails")
        handing.end_pass()
    handing.probe.fire_once()
    handing.writer.end("succeeds")
    clients += handing.submit()
    handing.writer.end("succeeds")
    assert [kind for [(kind, _)] in answers(clients)] == [PacketType.JOB_CREATED] * 5


@pytest.mark.parametrize(("forget", "gone"), [("forget_results", "outdated"), ("forget_dead", "forgotten")])
def test_the_number_of_expired_entries_is_limited_while_the_store_is_in_trouble(
    handing: Handing, monkeypatch: pytest.MonkeyPatch, forget: str, gone: str
) -> None:
    monkeypatch.setattr(noted_changes, "MAX_GONE", 3)
    handles, more = ([b"H:test:%d" % number for number in numbers] for numbers in (range(20), range(20, 30)))
    getattr(handing.store, forget)(handles)
    assert list(getattr(handing.store._open, gone)) == handles  # many at once are no trouble
    handing.submit()
    handing.writer.end("fails")
    for handle in more:
        getattr(handing.store, forget)([handle])
    left = list(getattr(handing.store._open, gone))
    assert len(left) <= 6
    assert left[-3:] == more[-3:]


def test_the_cost_of_taking_a_batch_back_depends_on_its_size_alone() -> None:
    looks: list[object] = []

    class Handle(bytes):
        """A handle that counts its comparisons."""

        __hash__ = bytes.__hash__

        def __eq__(self, other: object) -> bool:
            looks.append(other)
            return super().__eq__(other)

    failed, batch = Batch(), Batch()
    anything: Any = object()
    for number in range(500):
        failed.results[b"H:test:%d" % number] = failed.letters[b"H:test:%d" % number] = anything
    gone = [Handle(b"H:test:%d" % number) for number in range(400, 900)]
    batch.outdated.update(dict.fromkeys(gone))
    batch.forgotten.update(dict.fromkeys(gone))
    batch.take_back(failed)
    Batch().put_aside(failed, batch, is_unknown=True)
    assert len(batch.results) == len(batch.letters) == 400
    assert len(looks) < 4 * len(gone)


def test_batches_that_take_too_long_are_broken_off_and_their_clients_hear_what_became_of_them(
    handing: Handing,
) -> None:
    clients = handing.submit() + handing.submit() + handing.submit()
    assert handing.sizes == [1, 1]
    handing.harness.advance(TIMEOUT_S)
    handing.overdue.fire()
    assert answers(clients) == [[], [], NOT_STORED]
    handing.writer.end("succeeds")  # it was committed at the last moment
    [late] = handing.submit()
    assert late.take() == NOT_STORED  # the other is still on its way
    handing.writer.end("fails")
    [[created], refused, none] = answers(clients)
    assert (created[0], refused, none) == (PacketType.JOB_CREATED, NOT_STORED, [])
    handing.probe.fire_once()
    [probing] = handing.writer.orders
    assert not probing.batch


def test_jobs_are_given_out_only_after_their_commit_while_inserts_are_late(handing: Handing) -> None:
    clients, worker = handing.submit(), handing.harness.worker(b"f")
    handing.harness.advance(LATE_S + 0.01)
    handing.overdue.fire()
    clients += handing.submit()
    assert worker.grab() is None
    handing.writer.end("succeeds")
    assert worker.grab() is not None
    assert worker.grab() is None
    handing.end_pass()
    handing.writer.end("succeeds")
    assert worker.grab() is not None
    handing.overdue.fire()  # nothing is late any more
    handing.end_pass()
    clients += handing.submit()
    assert worker.grab() is not None
    handing.writer.end("succeeds")
    assert [kind for [(kind, _)] in answers(clients)] == [PacketType.JOB_CREATED] * 3


@pytest.mark.parametrize("how", ["fails", "is lost"])
def test_the_mark_and_the_letter_of_a_job_wait_for_the_repetition_of_its_insert(handing: Handing, how: str) -> None:
    handing.harness.broker.use_schedules([ScheduleRule("tick", Every(4.0), b"f")], handing.harness.now)
    handing.end_pass()
    handing.lazy.fire_once()
    handing.writer.end("succeeds")

    def was_run() -> bool:
        """Whether the database has both the job and the mark; it must not have one of them."""
        with handing.store._database._transaction() as connection:
            is_stored = handle in connection.exec_driver_sql("SELECT handle FROM gearman_jobs").scalars().all()
        assert is_stored == (handing.store._database.call(read_marks)["tick"].last_run is not None)
        return is_stored

    handing.harness.advance(4.0)
    handing.end_pass()
    worker = handing.harness.worker(b"f")
    handle = worker.grab()
    assert handle is not None  # it runs before its insert fails
    handing.writer.end(how)
    handing.submit()
    handing.writer.end("succeeds")
    was_run()
    handing.probe.fire_once()
    handing.writer.end("succeeds")
    assert was_run()


def test_an_insert_behind_a_batch_that_nobody_waits_for_has_the_usual_deadline(handing: Handing) -> None:
    handing.submit()
    handing.writer.end("succeeds")
    worker = handing.harness.worker(b"f")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    handing.end_pass()
    handing.lazy.fire_once()
    assert handing.sizes == [0]
    clients = handing.submit() + handing.submit()
    handing.harness.advance(TIMEOUT_S)
    handing.overdue.fire()
    assert answers(clients) == [[], NOT_STORED]
    handing.writer.end("fails")
    handing.writer.end("fails")
    assert answers(clients) == [NOT_STORED, []]


def test_an_answer_waits_for_a_silent_database_no_longer_than_a_submission(handing: Handing) -> None:
    [client] = handing.submit()
    handing.writer.end("succeeds")
    [(_, handle)] = client.take()
    operator = handing.harness.peer()
    assert operator.text(b"cancel job " + handle) == b""
    handing.end_pass()
    assert handing.sizes == [0]
    handing.harness.advance(TIMEOUT_S)
    handing.overdue.fire()
    handing.end_pass()
    assert operator.take_bytes() == b"OK\r\n"


def test_an_insert_of_unknown_outcome_is_repeated_after_the_delete_of_its_first_row(handing: Handing) -> None:
    [first] = handing.submit(unique=b"u")
    handing.submit()
    handing.harness.worker(b"f").grab()
    handing.writer.end("is lost")  # the job with the key runs on
    handing.harness.advance(WELL_AFTER_S)
    handing.writer.end("succeeds")  # and the store seems to be well again
    handing.end_pass()
    handing.lazy.fire_once()
    [undoing] = handing.writer.orders
    assert (len(undoing.batch.deletes), len(undoing.batch.inserts)) == (1, 1)
    [again] = handing.submit(unique=b"u")
    assert handing.writer.orders == [undoing]
    handing.writer.end("fails")
    assert first.take() == again.take() == []
    handing.end_pass()
    handing.probe.fire_once()
    handing.writer.end("succeeds")
    [(kind, handle)] = again.take()
    assert kind == PacketType.JOB_CREATED
    assert first.take() == [(kind, handle)]
    with handing.store._database._transaction() as connection:
        stored = connection.exec_driver_sql("SELECT handle FROM gearman_jobs").scalars().all()
    assert stored.count(handle) == 1


def test_a_batch_that_failed_is_not_handed_over_again_before_the_broker_knows(handing: Handing) -> None:
    handing.submit()
    handing.writer.end("succeeds")
    worker = handing.harness.worker(b"f")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    handing.end_pass()
    assert handing.lazy.active
    handing.submit()
    handing.writer.end("is lost")
    handing.lazy.fire_once()  # in the same pass
    assert handing.writer.orders == []
    handing.end_pass()
    handing.probe.fire_once()
    [undoing] = handing.writer.orders
    assert (len(undoing.batch.deletes), len(undoing.batch.inserts)) == (2, 1)


def test_a_batch_whose_only_job_ended_at_once_is_as_young_as_its_next_job(handing: Handing) -> None:
    handing.submit()
    worker = handing.harness.worker(b"f")
    worker.grab()
    handing.client.send(PacketType.SUBMIT_JOB_HIGH_BG, b"f", b"", b"ends at once")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    handing.writer.end("succeeds")
    handing.harness.advance(100 * TIMEOUT_S)
    handing.submit()
    [order] = handing.writer.orders
    assert order.deadline == handing.harness.now + TIMEOUT_S


def test_a_batch_that_was_given_up_before_its_write_began_is_not_written(handing: Handing) -> None:
    database, outcomes, is_known = handing.store._database, [], gevent.event.Event()

    def report(outcome: WriteOutcome) -> None:
        outcomes.append(outcome)
        is_known.set()

    handing.submit()
    [order] = handing.writer.orders
    order.batch.is_given_up = True
    writer = Writer(database, gevent.get_hub().loop, report)
    writer.write(order)
    assert is_known.wait(20)
    assert writer.stop(20)
    assert [outcome.failure is not None for outcome in outcomes] == [True]
    assert not database.stored_rows(1 << 62).has_rows()
