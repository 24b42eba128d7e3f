"""Workers with very many functions: their requests cost no more than those of others, and they get the same jobs."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.wake_up import FEW_FUNCTIONS, PATIENCE_S

from ..broker_harness import BrokerHarness, Peer, lines_run

MANY = 10 * FEW_FUNCTIONS
NOOP = [(PacketType.NOOP, b"")]
NAMES = [b"f%d" % number for number in range(MANY)]
LAST = NAMES[-1]


@pytest.fixture
def worker(broker: BrokerHarness) -> Peer:
    """A worker with very many functions."""
    return broker.worker(*NAMES)


@pytest.mark.parametrize("request_type", ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL", "PRE_SLEEP"])
def test_a_request_for_a_job_looks_at_no_empty_queue(broker: BrokerHarness, worker: Peer, request_type: str) -> None:
    few = broker.worker(b"g")
    assert (
        lines_run(lambda: worker.ask(PacketType[request_type]))
        <= lines_run(lambda: few.ask(PacketType[request_type])) + 50
    )


def test_a_request_looks_at_no_queue_that_was_emptied(broker: BrokerHarness, worker: Peer) -> None:
    client, other = broker.peer(), broker.worker(*NAMES[: FEW_FUNCTIONS - 1])
    for name in NAMES[: FEW_FUNCTIONS - 1]:
        client.submit(name)
        assert other.grab() is not None
    assert worker.grab() is None
    assert lines_run(worker.grab) <= 150


def test_it_gets_each_job_and_functions_take_turns_within_a_priority(broker: BrokerHarness, worker: Peer) -> None:
    client = broker.peer()
    first, second = client.submit(LAST, kind="SUBMIT_JOB_LOW"), client.submit(LAST)
    third, fourth = client.submit(LAST), client.submit(b"f0")
    urgent = client.submit(b"f5", kind="SUBMIT_JOB_HIGH")
    assert [worker.grab() for _ in range(6)] == [urgent, second, fourth, third, first, None]


def test_it_gets_jobs_that_were_there_before_it_and_those_of_functions_it_learns_later(broker: BrokerHarness) -> None:
    client = broker.peer()
    handles = {client.submit(LAST), client.submit(b"g")}
    worker = broker.worker(*NAMES, b"g")
    assert {worker.grab(), worker.grab()} == handles
    assert worker.grab() is None


def test_it_is_woken_for_a_job_of_any_function_and_only_once(broker: BrokerHarness, worker: Peer) -> None:
    client = broker.peer()
    assert worker.ask(PacketType.PRE_SLEEP) == []
    handle = client.submit(LAST)
    assert worker.take() == NOOP
    client.submit(b"f0")
    assert worker.take() == []
    assert handle in {worker.grab(), worker.grab()}


def test_it_does_not_sleep_while_a_job_waits(broker: BrokerHarness, worker: Peer) -> None:
    broker.peer().submit(LAST)
    assert worker.ask(PacketType.PRE_SLEEP) == NOOP


def test_a_sleeper_that_learns_very_many_functions_is_woken_for_all_of_them(broker: BrokerHarness) -> None:
    worker, client = broker.worker(b"g"), broker.peer()
    worker.ask(PacketType.PRE_SLEEP)
    worker.can_do(*NAMES)
    client.submit(b"g")
    assert worker.take() == NOOP
    assert worker.grab() is not None
    worker.ask(PacketType.PRE_SLEEP)
    client.submit(LAST)
    assert worker.take() == NOOP


@pytest.mark.parametrize("how", ["CANT_DO", "RESET_ABILITIES"])
def test_a_function_that_it_gave_up_neither_wakes_it_nor_gives_it_jobs(
    broker: BrokerHarness, worker: Peer, how: str
) -> None:
    client = broker.peer()
    client.submit(LAST)
    worker.send(PacketType[how], *([LAST] if how == "CANT_DO" else []))
    broker.do_chores()
    worker.have_turns()
    assert worker.grab() is None
    worker.ask(PacketType.PRE_SLEEP)
    client.submit(LAST)
    assert worker.take() == []


def test_after_a_reset_it_is_a_worker_like_any_other(broker: BrokerHarness, worker: Peer) -> None:
    client = broker.peer()
    worker.ask(PacketType.PRE_SLEEP)
    worker.send(PacketType.RESET_ABILITIES)
    broker.do_chores()
    worker.have_turns()
    worker.can_do(LAST)
    client.submit(LAST)
    assert worker.take() == NOOP
    assert worker.grab() is not None


def test_one_that_has_left_is_not_woken_and_the_next_one_is(broker: BrokerHarness, worker: Peer) -> None:
    client, other = broker.peer(), broker.worker(*NAMES)
    worker.ask(PacketType.PRE_SLEEP)
    other.ask(PacketType.PRE_SLEEP)
    worker.leave()
    client.submit(LAST)
    assert other.take() == NOOP


def test_a_requeued_job_is_found(broker: BrokerHarness, worker: Peer) -> None:
    client, lost = broker.peer(), broker.worker(*NAMES)
    handle = client.submit(LAST)
    assert worker.grab() == handle
    assert lost.grab() is None
    worker.leave()
    assert lost.grab() == handle


def test_more_and_more_of_them_are_woken_while_a_job_waits(broker: BrokerHarness) -> None:
    workers = [broker.worker(*NAMES) for _ in range(8)]
    for worker in workers:
        worker.ask(PacketType.PRE_SLEEP)
    broker.peer().submit(LAST)
    assert sum(worker.take() == NOOP for worker in workers) == 1
    for _ in range(10):
        broker.advance(0.005)
    assert sum(worker.take() == NOOP for worker in workers) == 7


def test_a_throttled_function_holds_up_no_other_and_wakes_it_when_a_place_is_free(broker: BrokerHarness) -> None:
    broker.broker.use_policies({b"f0": FunctionPolicy(max_running=1)})
    client, first, second = broker.peer(), broker.worker(*NAMES), broker.worker(*NAMES)
    running, waiting = client.submit(b"f0"), client.submit(b"f0")
    assert first.grab() == running
    assert second.grab() is None
    other = client.submit(LAST)
    assert second.grab() == other
    second.send(PacketType.WORK_COMPLETE, other, b"")
    assert second.ask(PacketType.PRE_SLEEP) == []
    first.send(PacketType.WORK_COMPLETE, running, b"")
    broker.advance(PATIENCE_S)
    assert second.take() == NOOP
    assert second.grab() == waiting
