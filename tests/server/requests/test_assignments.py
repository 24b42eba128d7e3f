"""Registration, sleeping and waking, and the job that a worker gets."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness

NOOP = [(PacketType.NOOP, b"")]


def test_jobs_of_one_priority_are_assigned_in_the_order_of_their_submission(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handles = [client.submit(b"f") for _ in range(5)]
    assert [worker.grab() for _ in range(6)] == [*handles, None]


def test_priorities_hold_across_all_functions_and_functions_take_turns(broker: BrokerHarness) -> None:
    # The example of the reference: registered f1, f2, f3, normal jobs on each, one high and one low.
    client, worker = broker.peer(), broker.worker(b"a", b"b", b"c")
    for name in (b"a", b"b", b"c"):
        for number in (b"0", b"1", b"2"):
            client.submit(name, name + number)
    client.submit(b"b", b"bH", kind="SUBMIT_JOB_HIGH")
    client.submit(b"a", b"aL", kind="SUBMIT_JOB_LOW")
    client.submit(b"c", b"cL", kind="SUBMIT_JOB_LOW")
    given = b" ".join(iter(worker.grab_workload, None))
    assert given == b"bH a0 c0 b0 a1 c1 b1 a2 c2 b2 aL cL"


def test_a_worker_gets_only_jobs_of_its_functions(broker: BrokerHarness) -> None:
    broker.peer().submit(b"f")
    assert broker.worker(b"g").grab() is None


def test_registering_twice_counts_once(broker: BrokerHarness) -> None:
    broker_worker = broker.worker(b"f", b"f")
    broker_worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    assert broker.status(b"f") == (0, 0, 1)


@pytest.mark.parametrize("goodbye", [PacketType.CANT_DO, PacketType.RESET_ABILITIES])
def test_giving_up_a_function_requeues_its_running_job_and_leaves_waiting_ones(
    broker: BrokerHarness, goodbye: int
) -> None:
    client, worker, other = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    running, waiting = client.submit(b"f"), client.submit(b"f")
    assert worker.grab() == running
    worker.send(goodbye, b"f" if goodbye == PacketType.CANT_DO else b"")
    assert worker.grab() is None
    assert worker.ask(PacketType.WORK_COMPLETE, running, b"") == [
        (PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")
    ]
    assert [other.grab(), other.grab()] == [waiting, running]


def test_cant_do_of_an_unknown_function_is_silent(broker: BrokerHarness) -> None:
    assert broker.worker(b"f").ask(PacketType.CANT_DO, b"nothing") == []


def test_pre_sleep_is_answered_at_once_when_a_job_waits(broker: BrokerHarness) -> None:
    broker.peer().submit(b"f")
    assert broker.worker(b"f").ask(PacketType.PRE_SLEEP) == NOOP


def test_pre_sleep_is_not_answered_for_a_job_that_was_cancelled(broker: BrokerHarness) -> None:
    client = broker.peer()
    client.text(b"cancel job " + client.submit(b"f", kind="SUBMIT_JOB_BG"))
    assert broker.worker(b"f").ask(PacketType.PRE_SLEEP) == []


def test_a_sleeper_is_woken_once_until_it_sleeps_again(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    assert worker.ask(PacketType.PRE_SLEEP) == []
    client.submit(b"f")
    client.submit(b"f")
    assert worker.take() == NOOP
    assert worker.grab() is not None
    client.submit(b"f")
    assert worker.take() == []
    while worker.grab():
        pass
    worker.send(PacketType.PRE_SLEEP)
    client.submit(b"f")
    assert worker.take() == NOOP


def test_a_worker_that_never_slept_gets_no_noop(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    broker.peer().submit(b"f")
    assert worker.take() == []


def test_a_sleeper_that_grabbed_is_awake(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    assert worker.grab() is None
    broker.peer().submit(b"f")
    assert worker.take() == []


def test_a_sleeper_of_several_functions_is_woken_once_for_all_of_them(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f", b"g")
    worker.send(PacketType.PRE_SLEEP)
    client.submit(b"f")
    client.submit(b"g")
    assert worker.take() == NOOP


def test_a_sleeper_that_registers_a_function_is_woken_for_it(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    worker.can_do(b"g")
    broker.peer().submit(b"g")
    assert worker.take() == NOOP


def test_a_sleeper_that_submits_a_job_for_itself_gets_job_created_before_its_noop(broker: BrokerHarness) -> None:
    both = broker.worker(b"f")
    both.send(PacketType.PRE_SLEEP)
    assert [packet_type for packet_type, _ in both.ask(PacketType.SUBMIT_JOB, b"f", b"", b"")] == [
        PacketType.JOB_CREATED,
        PacketType.NOOP,
    ]


def test_grab_job_uniq_carries_the_unique_key_even_an_empty_one(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for unique in (b"u", b""):
        handle = client.submit(b"f", b"work", unique)
        expected = [(PacketType.JOB_ASSIGN_UNIQ, b"\0".join((handle, b"f", unique, b"work")))]
        assert worker.ask(PacketType.GRAB_JOB_UNIQ) == expected


def test_grab_job_all_of_a_job_without_reducer_is_answered_as_grab_job_uniq(broker: BrokerHarness) -> None:
    handle = broker.peer().submit(b"f", b"work", b"u")
    assert broker.worker(b"f").ask(PacketType.GRAB_JOB_ALL) == [(PacketType.JOB_ASSIGN_UNIQ, handle + b"\0f\0u\0work")]


def test_the_body_of_a_request_that_should_have_none_is_ignored(broker: BrokerHarness) -> None:
    assert broker.worker(b"f").ask(PacketType.GRAB_JOB, b"xyz") == [(PacketType.NO_JOB, b"")]


def test_a_timeout_requeues_the_job_and_refuses_the_late_answer(broker: BrokerHarness) -> None:
    client, late, other = broker.peer(), broker.peer(), broker.worker(b"f")
    late.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    other.send(PacketType.PRE_SLEEP)
    handle = client.submit(b"f")
    other.take()
    other.send(PacketType.PRE_SLEEP)
    other.take()
    assert late.grab() == handle
    assert broker.broker.next_due == broker.now + 5
    assert broker.advance(4.9) is not None
    assert broker.status(b"f") == (1, 1, 2)
    assert broker.advance(0.2) is None
    assert broker.status(b"f") == (1, 0, 2)
    assert late.ask(PacketType.WORK_COMPLETE, handle, b"late") == [
        (PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")
    ]
    assert other.grab() == handle
    other.send(PacketType.WORK_COMPLETE, handle, b"in time")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0in time")]


def test_pre_sleep_stops_the_clock_that_the_worker_announced(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    handle = client.submit(b"f")
    assert worker.grab() == handle
    assert worker.ask(PacketType.PRE_SLEEP) == []
    assert broker.advance(60) is None
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]
    # The next job has a clock again.
    client.submit(b"f")
    assert worker.take() == NOOP
    worker.grab()
    assert broker.broker.next_due == broker.now + 5


def test_a_worker_that_is_kept_awake_keeps_its_clock(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    handle, _ = client.submit(b"f"), client.submit(b"f")
    assert worker.grab() == handle
    assert worker.ask(PacketType.PRE_SLEEP) == NOOP
    broker.advance(6)
    assert worker.session.assigned == {}


def test_each_job_of_a_connection_has_a_timer_of_its_own(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    first, second = client.submit(b"f"), client.submit(b"f")
    assert worker.grab() == first
    broker.advance(3)
    assert worker.grab() == second
    broker.advance(3)
    assert list(worker.session.assigned) == [second]
    broker.advance(3)
    assert list(worker.session.assigned) == []


def test_the_timer_of_a_finished_job_does_nothing(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"2000")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    broker.advance(10)
    assert broker.status(b"f") == (0, 0, 1)


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [(b"1500", 1.5), (b"1", 1.0), (b"0", None), (b"-5", None), (b"x", None), (b"", None), (b"9" * 20, 2147483.648)],
)
def test_an_announced_timeout_is_used_if_it_is_a_sensible_number(
    broker: BrokerHarness, milliseconds: bytes, seconds: float | None
) -> None:
    worker = broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", milliseconds)
    broker.peer().submit(b"f")
    worker.grab()
    due = broker.broker.next_due
    assert (due - broker.now if due is not None else None) == seconds


def test_the_last_registration_determines_the_timeout(broker: BrokerHarness) -> None:
    worker = broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    worker.can_do(b"f")
    broker.peer().submit(b"f")
    worker.grab()
    assert broker.broker.next_due is None


def test_timers_of_finished_jobs_are_not_kept(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"3600000")
    for _ in range(5000):
        client.submit(b"f", kind="SUBMIT_JOB_BG")
        worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    assert len(broker.broker._timeouts._deadlines) < 2000


def test_a_client_id_cannot_forge_a_line_of_the_workers_table(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.SET_CLIENT_ID, b"x\n1 forged - :" + b"y" * 300)
    assert worker.text(b"workers").count(b"\n") == 2
    assert len(worker.session.client_id) <= 127


def test_the_attempt_number_comes_with_the_job_once_the_option_is_on(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    assert worker.ask(PacketType.OPTION_REQ, b"job-attempt") == [(PacketType.OPTION_RES, b"job-attempt")]
    handle = client.submit(b"f", b"work", b"u")
    for attempt in (b"1", b"2", b"3"):
        kind = PacketType.GRAB_JOB_ALL if attempt == b"2" else PacketType.GRAB_JOB_UNIQ
        assert worker.ask(kind) == [(1000, b"\0".join((handle, b"f", b"u", attempt, b"work")))]
        worker.send(PacketType.CANT_DO, b"f")
        worker.can_do(b"f")
    assert worker.grab() == handle  # a plain GRAB_JOB gets a plain answer


def test_without_the_option_no_connection_gets_the_attempt_number(broker: BrokerHarness) -> None:
    broker.peer().submit(b"f")
    [(packet_type, _)] = broker.worker(b"f").ask(PacketType.GRAB_JOB_UNIQ)
    assert packet_type == PacketType.JOB_ASSIGN_UNIQ


def test_an_ending_server_assigns_and_accepts_no_jobs_but_running_ones_end(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    running = client.submit(b"f")
    client.submit(b"f")
    worker.grab()
    broker.broker.stop_assigning()
    assert worker.grab() is None
    assert worker.ask(PacketType.PRE_SLEEP) == []
    assert client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"") == [
        (PacketType.ERROR, b"QUEUE_ERROR\0The server is shutting down")
    ]
    worker.send(PacketType.WORK_COMPLETE, running, b"done")
    assert client.take() == [(PacketType.WORK_COMPLETE, running + b"\0done")]
