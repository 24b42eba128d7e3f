"""WORK_FAILURE, the extension by which a worker reports why a job failed and whether another attempt is to follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer


def report(
    worker: Peer,
    handle: bytes,
    verdict: bytes = b"fail",
    wait: bytes = b"",
    attempts: bytes = b"",
    reason: bytes = b"boom",
) -> list[tuple[int, bytes]]:
    """The report of a worker whose function raised."""
    return worker.ask(WORK_FAILURE, handle, verdict, wait, attempts, reason, b"Traceback\0...")


def test_the_option_is_known(broker: BrokerHarness) -> None:
    assert broker.peer().ask(PacketType.OPTION_REQ, b"job-failure") == [(PacketType.OPTION_RES, b"job-failure")]


def test_a_failure_is_reported_like_an_exception_and_its_traceback_to_no_client(broker: BrokerHarness) -> None:
    client, deaf, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f", unique=b"u")
    deaf.submit(b"f", unique=b"u")
    worker.grab()
    assert report(worker, handle) == []
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0boom")]
    assert deaf.take() == [(PacketType.WORK_FAIL, handle)]


def test_the_functions_retries_apply_to_it(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=1, backoff_s=5)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    report(worker, handle)
    assert client.take() == []
    broker.advance(5)
    assert worker.grab() == handle


def test_a_function_may_ask_for_another_attempt_without_retries_in_its_policy(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    report(worker, handle, b"retry", wait=b"90000", attempts=b"25")
    broker.advance(89.9)
    assert worker.grab() is None
    broker.advance(0.2)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_without_a_wait_the_functions_backoff_applies(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(backoff_s=7)
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    report(worker, handle, b"retry")
    assert broker.broker.next_due == pytest.approx(broker.now + 7)


@pytest.mark.parametrize(("retries", "attempts"), [(0, 3), (5, 6)])
def test_a_job_that_always_asks_for_another_attempt_is_limited_by_itself_and_its_functions_retries(
    broker_with: Callable[..., BrokerHarness], retries: int, attempts: int
) -> None:
    broker = broker_with(retries=retries, backoff_s=0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    made = 0
    while worker.grab() is not None:
        made += 1
        report(worker, handle, b"retry", wait=b"0", attempts=b"3")
    assert made == attempts
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_a_request_without_a_limit_has_no_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with()
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    for _ in range(200):
        assert worker.grab() == handle
        report(worker, handle, b"retry", wait=b"0")


def test_a_rejected_job_has_no_further_attempt(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=5, backoff_s=0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    report(worker, handle, b"reject")
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert worker.grab() is None


def test_only_the_worker_of_the_job_may_report_its_failure(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with()
    worker, stranger = broker.worker(b"f"), broker.worker(b"f")
    handle = broker.peer().submit(b"f")
    worker.grab()
    [(packet_type, body)] = report(stranger, handle, b"reject")
    assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"JOB_NOT_FOUND")
    assert broker.status(b"f") == (1, 1, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        (b"fail", b"", b"", b"only five"),
        (b"maybe", b"", b"", b"r", b"t"),
        (b"retry", b"soon", b"", b"r", b"t"),
        (b"retry", b"-1", b"", b"r", b"t"),
        (b"retry", b"", b"1" * 19, b"r", b"t"),
    ],
)
def test_a_malformed_report_ends_the_connection_and_the_job_goes_to_another_worker(
    broker_with: Callable[..., BrokerHarness], arguments: tuple[bytes, ...]
) -> None:
    broker = broker_with()
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f")
    worker.grab()
    [(packet_type, body)] = worker.ask(WORK_FAILURE, handle, *arguments)
    assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert worker.session.ending is not None
    worker.leave()
    assert broker.worker(b"f").grab() == handle
