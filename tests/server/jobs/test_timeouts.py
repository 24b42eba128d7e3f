"""`timeout`: the server ends an attempt that takes too long, with or without a supervisor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess


def test_the_servers_own_timer_acts_two_seconds_after_the_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(31.9)
    assert client.take() == []
    broker.advance(0.2)
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0timeout")]
    assert broker.status(b"f") == (0, 0, 1)
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"late")[0][0] == PacketType.ERROR


@pytest.mark.parametrize(("announced_ms", "is_requeued"), [(b"5000", True), (b"60000", False)])
def test_of_announced_timeout_and_policy_the_earlier_one_requeues_or_fails_the_job(
    broker_with: Callable[..., BrokerHarness], announced_ms: bytes, is_requeued: bool
) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", announced_ms)
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(61)
    assert broker.status(b"f") == (1, 0, 1) if is_requeued else (0, 0, 1)
    assert client.take() == ([] if is_requeued else [(PacketType.WORK_FAIL, handle)])


def test_the_policys_limit_holds_on_for_a_worker_that_sleeps(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(2)
    worker.send(PacketType.PRE_SLEEP)
    broker.advance(29.9)
    assert broker.status(b"f") == (1, 1, 1)
    broker.advance(0.2)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_a_job_that_ends_in_time_is_not_failed_and_leaves_no_timer(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]
    broker.advance(100)
    assert client.take() == []
    assert broker.broker.next_due is None


def test_new_policies_apply_to_later_assignments(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=30)
    client, worker = broker.peer(), broker.worker(b"f")
    first, second = client.submit(b"f"), client.submit(b"f")
    worker.grab()
    broker.broker.use_policies({b"f": FunctionPolicy(timeout_s=1)})
    worker.grab()
    broker.advance(3.1)
    assert client.take() == [(PacketType.WORK_FAIL, second)]
    broker.advance(30)
    assert client.take() == [(PacketType.WORK_FAIL, first)]


def test_a_timeout_acts_on_a_worker_without_a_supervisor(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("functions:\n  f: {timeout: 100ms}\n")
    server = start_server("--policies", str(path), "-v")
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    assert client.receive() == (PacketType.WORK_FAIL, handle)
    server.wait_for_log("failed for good, attempts: 1; timeout")


def test_very_many_jobs_that_overrun_at_once_are_requeued_a_few_at_a_time(broker: BrokerHarness) -> None:
    worker, client = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    for _ in range(3 * STEP):
        client.submit(b"f")
        worker.grab()
    for left in (2 * STEP, STEP, 0):
        assert broker.advance(2) is not None or not left
        assert broker.status(b"f")[1] == left
