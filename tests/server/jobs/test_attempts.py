"""`crash_retries`: the number of further attempts after a job's worker was lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness


def lose(broker: BrokerHarness, handle: bytes, times: int) -> None:
    """Workers come, grab the job and die."""
    for attempt in range(times):
        worker = broker.worker(b"f")
        assert worker.grab() == handle, f"attempt {attempt}"
        worker.leave()


@pytest.mark.parametrize("crash_retries", [0, 1, 3])
def test_a_job_gets_this_number_of_further_attempts_after_its_worker_was_lost(
    broker_with: Callable[..., BrokerHarness], crash_retries: int
) -> None:
    broker = broker_with(crash_retries=crash_retries)
    client = broker.peer()
    handle = client.submit(b"f")
    lose(broker, handle, crash_retries)
    assert client.take() == []
    lose(broker, handle, 1)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.status(b"f") == (0, 0, 0)


@pytest.mark.parametrize(("job_retries", "attempts"), [(1, 4), (9, 4)])
def test_a_policy_wins_over_job_retries(
    broker_with: Callable[..., BrokerHarness], job_retries: int, attempts: int
) -> None:
    broker = broker_with(job_retries=job_retries, crash_retries=3)
    lose(broker, broker.peer().submit(b"f"), attempts)
    assert broker.status(b"f") == (0, 0, 0)


@pytest.mark.parametrize(("job_retries", "attempts"), [(1, 1), (3, 3)])
def test_job_retries_holds_where_the_policy_says_nothing(
    broker_with: Callable[..., BrokerHarness], job_retries: int, attempts: int
) -> None:
    broker = broker_with(job_retries=job_retries, timeout_s=30)
    lose(broker, broker.peer().submit(b"f"), attempts)
    assert broker.status(b"f") == (0, 0, 0)


def test_without_both_settings_there_is_no_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    lose(broker, broker.peer().submit(b"f"), 50)
    assert broker.status(b"f") == (1, 0, 0)


def test_giving_the_function_up_and_exceeding_an_announced_timeout_count_as_a_lost_worker(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(crash_retries=2)
    client, worker = broker.peer(), broker.peer()
    handle = client.submit(b"f")
    for _ in range(2):
        worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
        assert worker.grab() == handle
        worker.send(PacketType.CANT_DO, b"f")
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    assert worker.grab() == handle
    assert client.take() == []
    broker.advance(1.1)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
