"""The jobs of a worker or a client that goes away, and of an operator who cancels them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.agenda import STEP

from ..broker_harness import BrokerHarness, Peer


def status_of(peer: Peer, handle: bytes) -> list[bytes]:
    [(_, body)] = peer.ask(PacketType.GET_STATUS, handle)
    return body.split(b"\0")[1:]


def test_a_lost_workers_jobs_go_to_the_tail_newest_first_and_another_worker_gets_them(broker: BrokerHarness) -> None:
    client, lost, other = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    first, second, waiting = (client.submit(b"f") for _ in range(3))
    lost.grab()
    lost.grab()
    lost.send(PacketType.WORK_STATUS, first, b"1", b"2")
    other.send(PacketType.PRE_SLEEP)
    other.take()
    client.take()
    lost.leave()
    assert status_of(client, first) == [b"1", b"0", b"0", b"0"]
    assert [other.grab(), other.grab(), other.grab()] == [waiting, second, first]
    assert broker.status(b"f") == (3, 3, 1)


def test_a_requeued_job_wakes_sleepers_but_not_the_lost_worker(broker: BrokerHarness) -> None:
    client, lost, sleeper = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    client.submit(b"f")
    lost.grab()
    lost.send(PacketType.PRE_SLEEP)
    sleeper.send(PacketType.PRE_SLEEP)
    lost.leave()
    assert sleeper.take() == [(PacketType.NOOP, b"")]
    assert broker.status(b"f") == (1, 0, 1)


@pytest.mark.parametrize(("job_retries", "attempts"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_job_retries_limits_the_attempts_and_then_the_client_is_told_of_the_failure(
    make_broker: Callable[..., BrokerHarness], job_retries: int, attempts: int
) -> None:
    broker = make_broker(job_retries=job_retries)
    client = broker.peer()
    handle = client.submit(b"f")
    for attempt in range(attempts):
        assert client.take() == []
        worker = broker.worker(b"f")
        assert worker.grab() == handle, f"attempt {attempt}"
        worker.leave()
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.status(b"f") == (0, 0, 0)


def test_without_job_retries_the_number_of_attempts_is_unlimited(broker: BrokerHarness) -> None:
    client = broker.peer()
    handle = client.submit(b"f")
    for _ in range(300):
        worker = broker.worker(b"f")
        assert worker.grab() == handle
        worker.leave()
    assert client.take() == []


def test_a_queued_foreground_job_is_removed_with_its_last_client(broker: BrokerHarness) -> None:
    one, two = broker.peer(), broker.peer()
    one.submit(b"f", unique=b"u")
    two.submit(b"f", unique=b"u")
    one.leave()
    assert broker.status(b"f") == (1, 0, 0)
    two.leave()
    assert broker.status(b"f") == (0, 0, 0)
    assert broker.worker(b"f").grab() is None


@pytest.mark.parametrize("kinds", [("SUBMIT_JOB_BG", "SUBMIT_JOB"), ("SUBMIT_JOB", "SUBMIT_JOB_BG")])
def test_a_job_that_one_client_submitted_in_the_background_survives_its_clients(
    broker: BrokerHarness, kinds: tuple[str, str]
) -> None:
    client = broker.peer()
    handles = {client.submit(b"f", unique=b"u", kind=kind) for kind in kinds}
    client.leave()
    assert {broker.worker(b"f").grab()} == handles


def test_a_submission_after_an_abandoned_job_gets_a_job_of_its_own(broker: BrokerHarness) -> None:
    gone, client, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    first = gone.submit(b"f", unique=b"u")
    gone.leave()
    second = client.submit(b"f", unique=b"u")
    assert second != first
    assert [worker.grab(), worker.grab()] == [second, None]


def test_a_running_job_goes_on_without_clients_and_can_be_joined_again(broker: BrokerHarness) -> None:
    gone, client, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    handle = gone.submit(b"f", unique=b"u")
    worker.grab()
    gone.leave()
    assert worker.ask(PacketType.WORK_DATA, handle, b"nobody listens") == []
    assert client.submit(b"f", unique=b"u") == handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_a_running_job_without_clients_is_not_run_again_when_its_worker_is_lost(broker: BrokerHarness) -> None:
    gone, worker = broker.peer(), broker.worker(b"f")
    gone.submit(b"f")
    worker.grab()
    gone.leave()
    worker.leave()
    assert broker.status(b"f") == (0, 0, 0)


def test_many_abandoned_jobs_leave_nothing_behind(broker: BrokerHarness) -> None:
    keeper = broker.peer()
    kept = keeper.submit(b"f")
    for _ in range(2000):
        client = broker.peer()
        client.submit(b"f", b"x" * 100)
        client.leave()
    assert broker.status(b"f") == (1, 0, 0)
    assert sum(len(queue) for queue in broker.broker.functions.by_name[b"f"].queues) <= 3
    assert len(broker.broker.table.jobs) == 1
    assert broker.worker(b"f").grab() == kept


# --- cancelling


def test_cancelling_a_queued_job_removes_it_and_tells_its_clients(broker: BrokerHarness) -> None:
    client = broker.peer()
    handle, next_one = client.submit(b"f", unique=b"u"), client.submit(b"f")
    operator = broker.peer()
    assert operator.text(b"cancel job " + handle) == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert operator.text(b"cancel job " + handle) == b"ERR UNKNOWN_JOB\r\n"
    assert broker.status(b"f") == (1, 0, 0)
    assert client.submit(b"f", unique=b"u") not in (handle, next_one)
    assert broker.worker(b"f").grab() == next_one


def test_the_result_of_a_job_cancelled_while_it_ran_goes_to_no_client(broker: BrokerHarness) -> None:
    client, worker, operator = broker.peer(), broker.worker(b"f"), broker.peer()
    handle = client.submit(b"f", unique=b"u")
    worker.grab()
    assert operator.text(b"cancel job " + handle) == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert operator.text(b"cancel job " + handle) == b"ERR UNKNOWN_JOB\r\n"
    fresh = client.submit(b"f", unique=b"u")
    assert fresh != handle
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"late") == []
    assert client.take() == []
    assert broker.status(b"f") == (1, 0, 1)
    assert worker.grab() == fresh
    worker.send(PacketType.WORK_COMPLETE, fresh, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, fresh + b"\0r")]


def test_a_job_cancelled_while_it_ran_is_not_requeued(broker: BrokerHarness) -> None:
    client, worker, operator = broker.peer(), broker.worker(b"f"), broker.peer()
    handle = client.submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    operator.text(b"cancel job " + handle)
    worker.leave()
    assert broker.status(b"f") == (0, 0, 0)
    assert operator.text(b"show jobs") == b".\n"


# --- very much at once is done a little at a time


MANY = 10 * STEP


def test_the_jobs_of_a_client_that_vanishes_are_dropped_a_few_at_a_time(broker: BrokerHarness) -> None:
    client, other = broker.peer(), broker.peer()
    for _ in range(MANY):
        client.submit(b"f")
    kept = other.submit(b"f")
    client.leave()
    assert broker.status(b"f")[0] == MANY + 1 - STEP
    broker.broker.do_chore(broker.now)
    assert broker.status(b"f")[0] == MANY + 1 - 2 * STEP
    broker.do_chores()
    assert broker.status(b"f")[0] == 1
    assert broker.worker(b"f").grab() == kept


def test_the_jobs_of_a_worker_that_vanishes_are_requeued_a_few_at_a_time_and_it_gets_no_other(
    broker: BrokerHarness,
) -> None:
    client, lost = broker.peer(), broker.worker(b"f")
    handles = [client.submit(b"f") for _ in range(MANY)]
    for _ in range(MANY):
        lost.grab()
    lost.leave()
    assert broker.status(b"f") == (MANY, MANY - STEP, 1)
    broker.do_chores()
    assert broker.status(b"f") == (MANY, 0, 0)
    other = broker.worker(b"f")
    assert [other.grab() for _ in range(MANY)] == handles[::-1]


@pytest.mark.parametrize("how", ["leaves", "resets"])
def test_a_worker_of_very_many_functions_is_unregistered_from_a_few_at_a_time(broker: BrokerHarness, how: str) -> None:
    worker = broker.worker(*(b"f%d" % number for number in range(MANY)))
    if how == "leaves":
        worker.leave()
    else:
        worker.begin((PacketType.RESET_ABILITIES, b""), (PacketType.CAN_DO, b"f0"), (PacketType.ECHO_REQ, b"x"))
    registered = sum(bool(function.workers) for function in broker.broker.functions.by_name.values())
    assert registered == MANY - STEP
    assert worker.take_bytes() == b""
    broker.do_chores()
    worker.have_turns()
    assert worker.take() == ([] if how == "leaves" else [(PacketType.ECHO_RES, b"x")])
    registered = sum(bool(function.workers) for function in broker.broker.functions.by_name.values())
    assert registered == (0 if how == "leaves" else 1)


def test_a_worker_that_vanishes_while_it_resets_leaves_nothing(broker: BrokerHarness) -> None:
    worker = broker.worker(*(b"f%d" % number for number in range(MANY)))
    worker.begin((PacketType.RESET_ABILITIES, b""), (PacketType.CAN_DO, b"f0"))
    worker.leave()
    broker.do_chores()
    assert not any(function.workers for function in broker.broker.functions.by_name.values())


def test_giving_up_a_function_with_very_many_jobs_in_hand_ends_the_turn(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for _ in range(2 * STEP):
        client.submit(b"f")
        worker.grab()
    worker.begin((PacketType.CAN_DO, b"g"), (PacketType.CANT_DO, b"g"), (PacketType.ECHO_REQ, b"x"))
    assert worker.take_bytes() == b""
    worker.have_turns()
    assert worker.take() == [(PacketType.ECHO_RES, b"x")]


@pytest.mark.parametrize("vanishes", [False, True])
def test_the_jobs_of_a_function_that_a_worker_gives_up_are_put_back_a_few_at_a_time(
    broker: BrokerHarness, vanishes: bool
) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for _ in range(MANY):
        client.submit(b"f")
        worker.grab()
    worker.begin((PacketType.CANT_DO, b"f"), (PacketType.GRAB_JOB, b""))
    assert broker.status(b"f") == (MANY, MANY - STEP, 1)
    if vanishes:
        worker.leave()
    broker.do_chores()
    worker.have_turns()
    assert broker.status(b"f") == (MANY, 0, 0)
    assert worker.take() == ([] if vanishes else [(PacketType.NO_JOB, b"")])


def test_a_function_with_very_many_jobs_is_dropped_a_few_at_a_time(broker: BrokerHarness) -> None:
    client, operator = broker.peer(), broker.peer()
    for _ in range(MANY):
        client.submit(b"f", kind="SUBMIT_JOB_BG")
    operator.begin((0, b"drop function f"), (0, b"version"))
    assert operator.take_bytes() == b""
    assert len(broker.broker.table.jobs) == MANY - STEP
    assert broker.status(b"f") == (0, 0, 0)  # it is gone, and a job with its name belongs to a new one
    late = client.submit(b"f", kind="SUBMIT_JOB_BG")
    broker.do_chores()
    operator.have_turns()
    assert operator.take_bytes() == b"OK\r\nOK 1.2.3\n"
    assert broker.broker.table.jobs.keys() == {late}
