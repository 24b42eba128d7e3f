"""The sleepers that are woken for a job: one, more while the job waits on, and exactly N with `--worker-wakeup N`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.agenda import Agenda
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.wake_up import STAGE_S

from ..broker_harness import BrokerHarness, Peer

PATIENCE_S = 0.001
NOOP = (PacketType.NOOP, b"")
WAKE_UP_OF_2000_S = 11 * STAGE_S  # 1 + 2 + 4 + ... + 1024


def asleep(broker: BrokerHarness, count: int, *functions: bytes) -> list[Peer]:
    workers = [broker.worker(*functions) for _ in range(count)]
    for worker in workers:
        worker.send(PacketType.PRE_SLEEP)
    return workers


def woken(workers: list[Peer]) -> list[Peer]:
    """The sleepers that got a NOOP since the last call; none gets two."""
    answers = [worker.take() for worker in workers]
    assert all(answer in ([], [NOOP]) for answer in answers)
    return [worker for worker, answer in zip(workers, answers, strict=True) if answer]


def pass_time(broker: BrokerHarness, seconds: float) -> None:
    """Call the broker at all of its due times within this time, as the listener does."""
    until = broker.now + seconds
    while (due := broker.broker.next_due) is not None and due < until:
        broker.advance(due - broker.now)
    broker.advance(until - broker.now)


def test_a_job_that_is_grabbed_at_once_wakes_one_of_2000_sleepers(broker: BrokerHarness) -> None:
    client, workers = broker.peer(), asleep(broker, 2000, b"f")
    for worker in workers[:10]:
        handle = client.submit(b"f")
        assert woken(workers) == [worker]
        assert worker.grab() == handle
        pass_time(broker, STAGE_S)
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        assert worker.grab() is None
        assert worker.ask(PacketType.PRE_SLEEP) == []
        client.take()
    pass_time(broker, 1)
    assert woken(workers) == []
    assert broker.broker.next_due is None


def test_all_sleepers_are_woken_within_milliseconds_while_the_job_waits_on(broker: BrokerHarness) -> None:
    workers = asleep(broker, 2000, b"f")
    broker.peer().submit(b"f")
    assert woken(workers) == workers[:1]
    pass_time(broker, STAGE_S)
    assert woken(workers) == workers[1:3]
    pass_time(broker, STAGE_S)
    assert woken(workers) == workers[3:7]
    pass_time(broker, WAKE_UP_OF_2000_S)
    assert woken(workers) == workers[7:]
    assert broker.broker.next_due is None


def test_as_many_sleepers_are_woken_at_once_as_jobs_wait(broker: BrokerHarness) -> None:
    client, workers = broker.peer(), asleep(broker, 20, b"f")
    for _ in range(15):
        client.submit(b"f")
    assert woken(workers) == workers[:15]


def test_a_requeued_job_wakes_another_sleeper(broker: BrokerHarness) -> None:
    client, lost, other = broker.peer(), *asleep(broker, 2, b"f")
    handle = client.submit(b"f")
    assert woken([lost]) == [lost]
    assert lost.grab() == handle
    pass_time(broker, STAGE_S)
    assert woken([other]) == []
    lost.leave()
    assert woken([other]) == [other]
    assert other.grab() == handle


def test_a_job_whose_woken_worker_left_wakes_the_next_sleeper(broker: BrokerHarness) -> None:
    client, lost, other = broker.peer(), *asleep(broker, 2, b"f")
    client.submit(b"f")
    lost.leave()
    pass_time(broker, STAGE_S)
    assert woken([other]) == [other]


def test_no_sleeper_is_woken_for_a_job_that_was_cancelled_meanwhile(broker: BrokerHarness) -> None:
    workers = asleep(broker, 3, b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    assert woken(workers) == workers[:1]
    broker.peer().text(b"cancel job " + handle)
    pass_time(broker, 1)
    assert woken(workers) == []


def test_a_server_that_is_ending_wakes_no_worker(broker: BrokerHarness) -> None:
    workers = asleep(broker, 3, b"f")
    broker.peer().submit(b"f")
    assert woken(workers) == workers[:1]
    broker.broker.stop_assigning()
    pass_time(broker, 1)
    assert woken(workers) == []
    assert broker.broker.next_due is None


def together(broker: BrokerHarness, *requests: tuple[Any, ...]) -> None:
    """Requests of several sessions that arrive in one pass of the loop."""
    for peer, packet_type, *arguments in requests:
        peer.send(packet_type, *arguments)


def test_a_job_that_a_busy_worker_takes_in_the_same_pass_wakes_no_sleeper(broker: BrokerHarness) -> None:
    client, busy, *sleepers = broker.peer(), broker.worker(b"f"), *asleep(broker, 3, b"f")
    together(broker, (client, PacketType.SUBMIT_JOB, b"f", b"", b"w"), (busy, PacketType.GRAB_JOB))
    assert [packet_type for packet_type, _ in busy.take()] == [PacketType.JOB_ASSIGN]
    assert woken(sleepers) == []
    pass_time(broker, 1)
    assert woken(sleepers) == []


def test_a_worker_whose_grab_found_no_job_gets_the_job_that_arrives_in_the_same_pass(broker: BrokerHarness) -> None:
    client, early, late, *sleepers = broker.peer(), broker.worker(b"f"), broker.worker(b"f"), *asleep(broker, 3, b"f")
    together(
        broker,
        (early, PacketType.GRAB_JOB),
        (late, PacketType.GRAB_JOB_UNIQ),
        (client, PacketType.SUBMIT_JOB, b"f", b"", b"w"),
    )
    assert [packet_type for packet_type, _ in early.take()] == [PacketType.JOB_ASSIGN]
    assert late.take() == [(PacketType.NO_JOB, b"")]
    assert woken(sleepers) == []


def test_a_postponed_answer_keeps_its_place_among_the_others(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    together(
        broker,
        (worker, PacketType.GRAB_JOB),
        (worker, PacketType.ECHO_REQ, b"x"),
        (client, PacketType.SUBMIT_JOB, b"f", b"", b"w"),
        (worker, PacketType.PRE_SLEEP),
        (worker, PacketType.GRAB_JOB),
    )
    assert [packet_type for packet_type, _ in worker.take()] == [
        PacketType.NO_JOB,
        PacketType.ECHO_RES,
        PacketType.NOOP,
        PacketType.JOB_ASSIGN,
    ]


def test_a_worker_that_leaves_before_the_answer_takes_no_job(broker: BrokerHarness) -> None:
    client, lost, sleeper = broker.peer(), broker.worker(b"f"), *asleep(broker, 1, b"f")
    together(broker, (lost, PacketType.GRAB_JOB), (client, PacketType.SUBMIT_JOB, b"f", b"", b"w"))
    lost.leave()
    assert woken([sleeper]) == [sleeper]
    assert sleeper.grab() is not None
    assert broker.status(b"f") == (1, 1, 1)


def test_no_other_sleeper_is_woken_while_a_woken_worker_is_on_its_way(broker: BrokerHarness) -> None:
    client, [first], busy, others = broker.peer(), asleep(broker, 1, b"f"), broker.worker(b"f"), asleep(broker, 3, b"f")
    client.submit(b"f")
    assert woken([first, *others]) == [first]
    assert busy.grab() is not None
    client.submit(b"f")
    assert woken(others) == []  # `first` comes for this one
    assert first.grab() is not None
    pass_time(broker, 1)
    assert woken(others) == []


def test_a_woken_worker_that_never_comes_delays_only_one_job(broker: BrokerHarness) -> None:
    client, [stuck], busy, others = broker.peer(), asleep(broker, 1, b"f"), broker.worker(b"f"), asleep(broker, 5, b"f")
    client.submit(b"f")
    assert woken([stuck, *others]) == [stuck]
    assert busy.grab() is not None
    client.submit(b"f")
    assert woken(others) == []
    pass_time(broker, STAGE_S)
    assert woken(others) == others[:2]
    assert others[0].grab() is not None
    assert others[1].grab() is None
    client.submit(b"f")
    assert woken(others) == [others[2]]


@pytest.mark.parametrize("leave", ["CANT_DO", "RESET_ABILITIES"])
def test_a_woken_worker_that_gives_the_function_up_is_no_longer_expected(broker: BrokerHarness, leave: str) -> None:
    client, [lost], busy, [other] = broker.peer(), asleep(broker, 1, b"f"), broker.worker(b"f"), asleep(broker, 1, b"f")
    client.submit(b"f")
    assert woken([lost]) == [lost]
    assert busy.grab() is not None
    lost.send(PacketType[leave], *([b"f"] if leave == "CANT_DO" else []))
    client.submit(b"f")
    assert woken([other]) == [other]


def test_many_short_jobs_in_a_row_are_not_taken_for_one_that_waits(broker: BrokerHarness) -> None:
    client, *workers = broker.peer(), *asleep(broker, 20, b"f")
    for _ in range(20):
        client.submit(b"f")
        [worker] = woken(workers)
        pass_time(broker, STAGE_S / 2)
        handle = worker.grab_handle()
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        worker.send(PacketType.PRE_SLEEP)
        client.take()


def test_sleepers_that_come_back_repeatedly_without_a_grab_do_no_harm(broker: BrokerHarness) -> None:
    client, *odd = broker.peer(), *asleep(broker, 2, b"f")
    client.submit(b"f")
    for _ in range(100):
        for worker in odd:
            worker.take()
            for request in (PacketType.RESET_ABILITIES, PacketType.PRE_SLEEP):
                worker.send(request)
            worker.send(PacketType.CAN_DO, b"f")
        broker.advance(STAGE_S)
    for worker in odd:
        worker.leave()
    stuck, other = asleep(broker, 2, b"f")
    client.submit(b"f")
    pass_time(broker, 1)
    assert woken([stuck, other]) == [stuck, other]


def test_for_a_function_that_is_throttled_meanwhile_no_sleeper_is_woken(broker: BrokerHarness) -> None:
    client, busy, *workers = broker.peer(), broker.worker(b"f"), *asleep(broker, 20, b"f")
    for _ in range(2):
        client.submit(b"f", kind="SUBMIT_JOB_BG")
    assert len(woken(workers)) == 2
    assert busy.grab() is not None
    broker.broker.use_policies({b"f": FunctionPolicy(max_running=1)})
    pass_time(broker, 1)
    assert woken(workers) == []
    assert broker.broker.next_due is None


def test_a_worker_that_grabs_and_then_sends_nonsense_takes_no_job(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    worker.send(PacketType.GRAB_JOB)
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    broker.broker.end_for_violation(worker.session, b"INVALID_PACKET", "nonsense")
    assert [packet_type for packet_type, _ in worker.take()] == [PacketType.NO_JOB, PacketType.ERROR]
    assert broker.status(b"f") == (1, 0, 1)


def test_an_entry_of_the_agenda_that_fails_does_not_stop_the_others() -> None:
    agenda = Agenda(lambda: 0.0)
    done: list[str] = []

    def fail(_now: float) -> None:
        raise ZeroDivisionError

    agenda.add(1.0, lambda _now: done.append("first"))
    agenda.add(2.0, fail)
    agenda.add(3.0, lambda _now: done.append("last"))
    with pytest.raises(ZeroDivisionError):
        agenda.run_due(5.0)
    assert agenda.next_due == 3.0
    agenda.run_due(5.0)
    assert done == ["first", "last"]
    assert agenda.next_due is None


@pytest.fixture
def patient(make_broker: Callable[..., BrokerHarness]) -> BrokerHarness:
    """A broker whose workers wait a moment for the next job before they get NO_JOB."""
    return make_broker(grab_patience_s=PATIENCE_S)


def just_finished(broker: BrokerHarness) -> tuple[Peer, Peer]:
    """A worker that has finished a job and whose next grab found none."""
    client, worker = broker.peer(), broker.worker(b"f")
    client.submit(b"f")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    worker.send(PacketType.GRAB_JOB)
    client.take()
    return client, worker


def test_a_worker_that_has_just_finished_a_job_gets_the_next_one_instead_of_no_job(patient: BrokerHarness) -> None:
    client, worker = just_finished(patient)
    [sleeper] = asleep(patient, 1, b"f")
    assert worker.take() == []
    patient.advance(PATIENCE_S / 2)
    assert worker.take() == []
    handle = client.submit(b"f")
    assert worker.session in patient.broker.touched
    assert worker.take()[0][1].startswith(handle)
    assert woken([sleeper]) == []
    pass_time(patient, 1)
    assert worker.take() == []
    assert patient.broker.next_due is None


def test_when_no_job_comes_the_worker_gets_no_job_a_moment_later(patient: BrokerHarness) -> None:
    _, worker = just_finished(patient)
    assert worker.take() == []
    patient.broker.touched.clear()
    pass_time(patient, PATIENCE_S)
    assert worker.take() == [(PacketType.NO_JOB, b"")]
    assert worker.session in patient.broker.touched
    assert patient.broker.next_due is None


def test_a_worker_that_has_not_just_finished_a_job_gets_no_job_at_once(patient: BrokerHarness) -> None:
    _, worker = just_finished(patient)
    pass_time(patient, PATIENCE_S)
    worker.take()
    assert worker.ask(PacketType.GRAB_JOB) == [(PacketType.NO_JOB, b"")]


def test_a_worker_that_sends_on_gets_no_job_before_its_other_answers(patient: BrokerHarness) -> None:
    _, worker = just_finished(patient)
    assert worker.take() == []
    assert worker.ask(PacketType.ECHO_REQ, b"x") == [(PacketType.NO_JOB, b""), (PacketType.ECHO_RES, b"x")]
    pass_time(patient, 1)
    assert worker.take() == []


def test_a_server_that_is_ending_lets_no_worker_wait_for_a_job(patient: BrokerHarness) -> None:
    _, worker = just_finished(patient)
    assert worker.take() == []
    patient.broker.stop_assigning()
    assert worker.take() == [(PacketType.NO_JOB, b"")]


def test_a_worker_that_leaves_while_it_waits_leaves_nothing_behind(patient: BrokerHarness) -> None:
    client, worker = just_finished(patient)
    assert worker.take() == []
    worker.leave()
    handle = client.submit(b"f")
    pass_time(patient, 1)
    assert patient.broker.next_due is None
    assert patient.worker(b"f").grab() == handle


@pytest.mark.parametrize(("worker_wakeup", "counts"), [(1, [1, 1]), (2, [2, 1]), (9, [3, 0])])
def test_worker_wakeup_is_the_number_of_sleepers_that_are_woken_for_each_job(
    make_broker: Callable[..., BrokerHarness], worker_wakeup: int, counts: list[int]
) -> None:
    broker = make_broker(worker_wakeup=worker_wakeup)
    client, workers = broker.peer(), asleep(broker, 3, b"f")
    for count in counts:
        client.submit(b"f")
        assert len(woken(workers)) == count
        pass_time(broker, 1)
        assert woken(workers) == []
