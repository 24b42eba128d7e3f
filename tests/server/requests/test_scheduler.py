"""Jobs at set times: each due time once, missed runs by the schedule's own rule, whatever the wall clock does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import AccessList
from gearman_server.jobs.events import StoreFailed, StoreRecovered
from gearman_server.jobs.job import HIGH
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.schedule_rules import Missed, ScheduleMark, ScheduleRule
from gearman_server.jobs.store import InsertsFailed
from gearman_server.options.timing import Every

from ..broker_harness import BatchStore, BrokerHarness, Peer


@pytest.fixture
def scheduled(make_broker: Callable[..., BrokerHarness]) -> Callable[..., BrokerHarness]:
    """Makes a broker with one schedule, `tick` for `f`, and a clock that stands at an even minute."""

    def make(
        every_s: float = 60.0,
        store: BatchStore | None = None,
        marks: Iterable[tuple[str, ScheduleMark]] = (),
        **rule: Any,
    ) -> BrokerHarness:
        broker = make_broker(store=store)
        broker.unix_time = 1_800_000_000.0
        broker.broker.scheduler.restore(dict(marks))
        use(broker, ScheduleRule("tick", Every(every_s), b"f", **rule))
        return broker

    return make


def use(broker: BrokerHarness, *rules: ScheduleRule) -> None:
    broker.broker.use_schedules(rules, broker.now)
    broker.broker.tick(broker.now)


def queued(broker: BrokerHarness, function: bytes = b"f") -> int:
    return broker.status(function)[0]


def listed(broker: BrokerHarness) -> list[list[bytes]]:
    return [line.split(b"\t") for line in broker.peer().text(b"schedules list").split(b"\n")[:-2]]


def trigger(peer: Peer) -> bytes:
    return peer.text(b"schedules trigger tick")


def fail(broker: BrokerHarness, batch_store: BatchStore) -> None:
    """The batch can't be written."""
    batch_store.start_commit()
    failed, batch_store.in_flight = batch_store.in_flight, []
    broker.broker._inserts.failed(InsertsFailed(failed))


# --- due times


def test_a_job_is_submitted_when_it_is_due_and_not_before(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.advance(59.9)
    assert queued(broker) == 0
    broker.advance(0.2)
    assert queued(broker) == 1
    broker.advance(60)
    assert queued(broker) == 2


def test_the_broker_asks_to_be_called_at_the_due_time(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(every_s=30.0)
    assert broker.broker.next_due == broker.now + 30


def test_the_submitted_job_has_the_values_of_the_schedule(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(workload=b"[1]", unique=b"u", priority=HIGH)
    broker.advance(60)
    worker = broker.worker(b"f")
    assert worker.grab_workload() == b"[1]"
    assert broker.peer().text(b"prioritystatus").startswith(b"f\t")


def test_a_job_has_a_tag_that_names_its_schedule_if_the_name_is_short_enough(
    scheduled: Callable[..., BrokerHarness],
) -> None:
    broker = scheduled()
    names = ["x" * 55, "x" * 56]
    use(broker, *(ScheduleRule(name, Every(60.0), b"f") for name in ("tick", *names)))
    broker.advance(60)
    peer = broker.peer()
    found = [peer.text(b"jobs count tag=schedule:" + name.encode()).split(b"\n")[0] for name in ("tick", *names)]
    assert found == [b"waiting\t1", b"waiting\t1", b"waiting\t0"]


def test_a_sleeping_worker_is_woken(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    worker = broker.worker(b"f")
    worker.send(4)  # PRE_SLEEP
    worker.take()
    broker.advance(60)
    assert len(worker.take()) == 1


def test_with_a_unique_key_runs_do_not_pile_up(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(unique=b"once")
    for _ in range(5):
        broker.advance(60)
    assert queued(broker) == 1


def test_a_full_queue_skips_a_run_and_the_next_one_is_tried(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.broker.use_policies({b"f": FunctionPolicy(max_queue=1)})
    broker.advance(60)
    broker.advance(60)
    assert queued(broker) == 1
    broker.worker(b"f").grab()
    broker.advance(60)
    assert broker.status(b"f")[:2] == (2, 1)


# --- missed runs and clocks that are set


@pytest.mark.parametrize(("missed", "expected"), [(Missed.RUN_ONCE, 1), (Missed.SKIP, 0)])
def test_missed_runs_are_made_up_for_once_or_skipped(
    make_broker: Callable[..., BrokerHarness],
    batch_store: BatchStore,
    scheduled: Callable[..., BrokerHarness],
    missed: Missed,
    expected: int,
) -> None:
    first = scheduled(every_s=3600.0, store=batch_store)
    first.advance(3600)
    later = make_broker()
    later.unix_time = first.unix_time + 7 * 86400 + 1800  # the server was down for a week and half an hour
    later.broker.scheduler.restore(batch_store.marks)
    use(later, ScheduleRule("tick", Every(3600), b"f", missed=missed))
    assert queued(later) == expected
    later.advance(1700)
    assert queued(later) == expected
    later.advance(100)
    assert queued(later) == expected + 1


def test_a_run_that_is_a_little_late_is_not_skipped(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(every_s=3600.0, missed=Missed.SKIP)
    broker.advance(3600 + 50)
    assert queued(broker) == 1


def test_when_the_clock_is_set_back_no_run_is_repeated(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.advance(60)
    broker.unix_time -= 90
    for _ in range(2):
        broker.advance(45)
    assert queued(broker) == 1
    broker.advance(60)
    assert queued(broker) == 2


def test_a_clock_that_was_a_year_ahead_does_not_stop_a_schedule_for_a_year(
    scheduled: Callable[..., BrokerHarness],
) -> None:
    broker = scheduled()
    broker.unix_time += 365 * 86400
    broker.advance(60)
    assert queued(broker) == 1
    broker.unix_time -= 365 * 86400
    broker.advance(60)
    broker.advance(60)
    assert queued(broker) == 2


def test_a_clock_that_is_set_forward_is_noticed_within_a_minute(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(every_s=86400.0)
    broker.unix_time += 86400
    broker.advance(60)
    assert queued(broker) == 1


# --- changes of the rules


def test_a_new_schedule_has_missed_no_runs(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(every_s=3600.0)
    broker.advance(3500)
    use(broker, ScheduleRule("tick", Every(3600), b"f"), ScheduleRule("other", Every(3600), b"g"))
    assert queued(broker, b"g") == 0
    broker.advance(100)
    assert (queued(broker), queued(broker, b"g")) == (1, 1)


def test_a_schedule_with_a_changed_timing_has_missed_no_runs(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled(every_s=86400.0)
    broker.advance(7200)
    use(broker, ScheduleRule("tick", Every(3600), b"f"))
    assert queued(broker) == 0


def test_reading_the_same_rules_again_changes_nothing(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.advance(30)
    use(broker, ScheduleRule("tick", Every(60), b"f"))
    broker.advance(30)
    assert queued(broker) == 1
    use(broker, ScheduleRule("tick", Every(60), b"f"))
    assert queued(broker) == 1


def test_a_schedule_that_is_removed_runs_no_more_and_is_forgotten(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    assert "tick" in batch_store.marks
    use(broker)
    broker.advance(120)
    assert (queued(broker), batch_store.marks) == (0, {})


# --- with a store


def test_no_job_is_submitted_while_the_store_fails_and_the_run_is_made_up_for_afterwards(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    batch_store.verdicts.append(StoreFailed("the disk is full"))
    broker.broker.settle()
    broker.advance(60)
    broker.advance(30)
    assert queued(broker) == 0
    batch_store.verdicts.append(StoreRecovered())
    broker.broker.settle()
    broker.advance(1)
    assert queued(broker) == 1


def test_a_run_whose_insert_fails_stays_due(scheduled: Callable[..., BrokerHarness], batch_store: BatchStore) -> None:
    broker = scheduled(store=batch_store)
    before = batch_store.marks["tick"]
    broker.advance(60)
    fail(broker, batch_store)
    assert (queued(broker), batch_store.marks["tick"]) == (0, before)
    broker.advance(1)
    assert queued(broker) == 1
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    broker.advance(30)
    assert queued(broker) == 1


def test_two_runs_whose_inserts_fail_together_are_set_back_to_before_the_first(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    before = batch_store.marks["tick"]
    broker.advance(60)
    trigger(broker.peer())
    assert queued(broker) == 2
    fail(broker, batch_store)
    assert (queued(broker), batch_store.marks["tick"]) == (0, before)
    broker.advance(1)
    assert queued(broker) == 1


def test_runs_that_share_a_job_are_all_set_back_when_it_can_not_be_stored(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    rules = [ScheduleRule(name, Every(60), b"f", unique=b"once") for name in ("tick", "tock")]
    use(broker, *rules)
    before = dict(batch_store.marks)
    broker.advance(60)
    trigger(broker.peer())
    assert queued(broker) == 1
    fail(broker, batch_store)
    assert (queued(broker), batch_store.marks) == (0, before)


def test_a_run_that_was_done_before_its_insert_failed_is_not_repeated(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    broker.advance(60)
    worker = broker.worker(b"f")
    batch_store.start_commit()
    failed, batch_store.in_flight = batch_store.in_flight, []
    worker.send(13, worker.grab_handle(), b"")  # WORK_COMPLETE
    broker.broker._inserts.failed(InsertsFailed(failed))
    broker.advance(5)
    assert queued(broker) == 0


# --- triggered by an operator


def test_schedules_are_listed_with_their_next_run_and_the_last(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    rule = [b"every 60 s", b"normal", b"run_once", b""]
    assert listed(broker) == [[b"tick", b"f", b"1800000060.000", b"", *rule, b"", b""]]
    broker.advance(60)
    assert listed(broker) == [[b"tick", b"f", b"1800000120.000", b"1800000060.000", *rule, b"H:test:1", b""]]


def test_a_schedule_can_be_triggered_now_and_keeps_its_time(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.advance(10)
    assert broker.peer().text(b"schedules trigger tick") == b"OK H:test:1\n"
    assert queued(broker) == 1
    assert listed(broker)[0][2:4] == [b"1800000060.000", b"1800000010.000"]
    broker.advance(50)
    assert queued(broker) == 2


def test_the_answer_to_a_trigger_comes_when_the_job_is_stored(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    operator, other = broker.peer(), broker.peer()
    assert trigger(operator) == b""
    assert operator.text(b"version") == b""  # answered in its turn
    assert other.text(b"version") == b"OK 1.2.3\n"
    assert queued(broker) == 1
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    assert b"".join(operator.session.out) == b"OK H:test:1\nOK 1.2.3\n"
    assert operator.session in broker.broker.touched
    assert list(batch_store.rows) == [b"H:test:1"]


def test_the_answer_to_a_trigger_is_an_error_when_the_job_can_not_be_stored(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    operator = broker.peer()
    trigger(operator)
    fail(broker, batch_store)
    assert b"".join(operator.session.out).startswith(b"ERR QUEUE_ERROR The+job+could+not+be+stored")
    assert queued(broker) == 0


def test_a_triggered_job_that_ends_before_it_is_stored_is_answered_at_once(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    operator, worker = broker.peer(), broker.worker(b"f")
    trigger(operator)
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    assert b"".join(operator.session.out) == b"OK H:test:1\n"


def test_a_triggered_job_that_is_stored_already_is_answered_at_once(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store, unique=b"once")
    broker.advance(60)
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    assert trigger(broker.peer()) == b"OK H:test:1\n"


def test_an_operator_who_triggers_a_schedule_and_leaves_changes_nothing(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    operator = broker.peer()
    trigger(operator)
    operator.leave()
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    assert operator.session.out == []
    assert queued(broker) == 1


def test_only_administrators_can_trigger_and_only_known_schedules(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=AccessList.of(["192.0.2.7"]))
    use(broker, ScheduleRule("tick", Every(60), b"f"))
    assert broker.peer("192.0.2.1").text(b"schedules trigger tick").startswith(b"ERR NOT_ALLOWED ")
    assert broker.peer("192.0.2.7").text(b"schedules trigger tock").startswith(b"ERR UNKNOWN_SCHEDULE ")
    assert broker.peer("192.0.2.7").text(b"schedules what").startswith(b"ERR INVALID_ARGUMENTS ")
    assert queued(broker) == 0


def test_a_server_that_is_ending_submits_nothing_more(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.broker.stop_assigning()
    broker.advance(60)
    assert queued(broker) == 0


# --- paused by an operator


def test_a_paused_schedule_has_no_runs_and_makes_up_for_none(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    operator = broker.peer()
    broker.advance(10)
    assert operator.text(b"schedules pause tick") == b"OK\r\n"
    assert listed(broker)[0][-1] == b"1800000010.000"
    broker.advance(300)
    assert operator.text(b"schedules pause tick") == b"OK\r\n", "it is paused already"
    assert listed(broker)[0][-1] == b"1800000010.000"
    assert queued(broker) == 0
    assert operator.text(b"schedules resume tick") == b"OK\r\n"
    broker.advance(49)
    assert (queued(broker), listed(broker)[0][-1]) == (0, b"")
    broker.advance(2)
    assert queued(broker) == 1


def test_a_paused_schedule_can_be_triggered(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.peer().text(b"schedules pause tick")
    assert trigger(broker.peer()) == b"OK H:test:1\n"
    assert listed(broker)[0][-2:] == [b"H:test:1", b"1800000000.000"]


def test_a_pause_holds_over_new_rules_and_a_restart(scheduled: Callable[..., BrokerHarness]) -> None:
    broker = scheduled()
    broker.peer().text(b"schedules pause tick")
    use(broker, ScheduleRule("tick", Every(30), b"f"))
    broker.advance(300)
    assert queued(broker) == 0
    marks = [(each.rule.name, each.mark) for each in broker.broker.scheduler]
    again = scheduled(every_s=30.0, marks=marks)
    again.advance(300)
    assert queued(again) == 0


def test_a_run_that_is_set_back_does_not_end_a_pause(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    broker.advance(60)
    broker.peer().text(b"schedules pause tick")
    fail(broker, batch_store)
    broker.advance(300)
    assert queued(broker) == 0
    assert batch_store.marks["tick"].paused_at is not None


def test_the_answer_to_a_pause_comes_when_it_is_written(
    scheduled: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = scheduled(store=batch_store)
    operator = broker.peer()
    assert operator.text(b"schedules pause tick") == b""
    batch_store.start_commit()
    batch_store.write()
    broker.broker.settle()
    assert b"".join(operator.session.out) == b"OK\r\n"


def test_only_administrators_can_pause_and_only_known_schedules(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=AccessList.of(["192.0.2.7"]))
    use(broker, ScheduleRule("tick", Every(60), b"f"))
    assert broker.peer("192.0.2.1").text(b"schedules pause tick").startswith(b"ERR NOT_ALLOWED ")
    assert broker.peer("192.0.2.7").text(b"schedules pause tock").startswith(b"ERR UNKNOWN_SCHEDULE ")
    assert broker.peer("192.0.2.7").text(b"schedules resume tock").startswith(b"ERR UNKNOWN_SCHEDULE ")
    broker.advance(60)
    assert queued(broker) == 1
