"""`retries`, `backoff`, `max_backoff`: a failed job is tried again later, and clients hear only of its last failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.extensions import JOB_ASSIGN_ATTEMPT
from gearman_client.packet import PacketType

from ..broker_harness import BatchStore, BrokerHarness, Peer
from ..server_process import ServerProcess


def fail_plainly(broker: BrokerHarness, worker: Peer, handle: bytes) -> None:
    worker.send(PacketType.WORK_FAIL, handle)


def raise_exception(broker: BrokerHarness, worker: Peer, handle: bytes) -> None:
    worker.send(PacketType.WORK_EXCEPTION, handle, b"boom")


def fail_as_the_supervisor(broker: BrokerHarness, worker: Peer, handle: bytes) -> None:
    assert broker.peer().text(b"fail job " + handle + b" timeout") == b"OK\r\n"


def take_too_long(broker: BrokerHarness, worker: Peer, handle: bytes) -> None:
    broker.advance(62)


HOW = [fail_plainly, raise_exception, fail_as_the_supervisor, take_too_long]


@pytest.mark.parametrize("fail", HOW)
def test_a_failed_attempt_is_followed_by_another_and_clients_hear_only_of_the_last_failure(
    broker_with: Callable[..., BrokerHarness], fail: Callable[..., None]
) -> None:
    broker = broker_with(retries=2, backoff_s=1, timeout_s=60)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    for wait_s in (1, 2):
        assert worker.grab() == handle
        fail(broker, worker, handle)
        assert client.take() == []
        assert worker.grab() is None
        broker.advance(wait_s)
    assert worker.grab() == handle
    fail(broker, worker, handle)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.status(b"f") == (0, 0, 1)


def test_clients_that_asked_for_exceptions_get_the_exception_of_the_last_attempt(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, backoff_s=0)
    client, worker = broker.peer(), broker.worker(b"f")
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f")
    for text in (b"first", b"second"):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_EXCEPTION, handle, text)
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0second")]


def test_data_of_a_failed_attempt_reaches_the_client_at_once(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=1, backoff_s=1)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    for attempt, how in ((b"1", PacketType.WORK_FAIL), (b"2", PacketType.WORK_COMPLETE)):
        worker.grab()
        worker.send(PacketType.WORK_DATA, handle, attempt)
        assert client.take() == [(PacketType.WORK_DATA, handle + b"\0" + attempt)]
        worker.send(how, handle, *([b"r"] if how is PacketType.WORK_COMPLETE else []))
        broker.advance(1)
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_the_wait_doubles_up_to_its_limit(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=6, backoff_s=0.25, max_backoff_s=2)
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    for wait_s in (0.25, 0.5, 1, 2, 2, 2):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_FAIL, handle)
        broker.advance(wait_s - 0.001)
        assert worker.grab() is None
        broker.advance(0.002)


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 8), (0.5, 10), (1.0, 12)])
def test_the_wait_is_up_to_a_fifth_shorter_or_longer(
    broker_with: Callable[..., BrokerHarness], chance: float, wait_s: int
) -> None:
    broker = broker_with(retries=1, backoff_s=10)
    broker.chance = chance
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    assert broker.broker.next_due == pytest.approx(broker.now + wait_s)


def test_the_wait_can_be_computed_for_any_number_of_retries(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=10_000, backoff_s=0.001, max_backoff_s=0.002)
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    for _ in range(5_000):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_FAIL, handle)
        broker.advance(0.003)


def test_a_sleeping_worker_is_woken_when_the_wait_is_over_and_not_before(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, backoff_s=10)
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.ask(PacketType.PRE_SLEEP) == []
    broker.advance(9.9)
    assert worker.take() == []
    broker.advance(0.1)
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() == handle


def test_a_job_that_waits_for_its_retry_is_known_and_counted_as_queued(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, backoff_s=10)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", unique=b"u")
    worker.grab()
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"2")
    client.take()
    worker.send(PacketType.WORK_FAIL, handle)
    assert broker.status(b"f") == (1, 0, 1)
    assert client.text(b"prioritystatus") == b"f\t0\t1\t0\t1\n.\n"
    assert client.ask(PacketType.GET_STATUS, handle) == [(PacketType.STATUS_RES, handle + b"\x001\x000\x000\x000")]
    assert broker.peer().submit(b"f", unique=b"u") == handle  # its unique key still belongs to it


def test_a_job_that_waits_for_its_retry_can_be_cancelled(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=1, backoff_s=10)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    assert broker.peer().text(b"cancel job " + handle) == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    broker.advance(11)
    assert worker.grab() is None
    assert broker.status(b"f") == (0, 0, 1)


def test_cancelled_jobs_leave_nothing_in_the_timer(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=1, backoff_s=100)
    client, worker = broker.peer(), broker.worker(b"f")
    for _ in range(50):
        handle = client.submit(b"f", workload=b"w" * 1000, kind="SUBMIT_JOB_BG")
        worker.grab()
        worker.send(PacketType.WORK_FAIL, handle)
        client.text(b"cancel job " + handle)
    assert len(broker.broker._life._retry_timer._delayed._heap) <= 1


def test_a_job_that_no_client_waits_for_is_not_tried_again(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=5, backoff_s=10)
    worker = broker.worker(b"f")
    gone_before, gone_after = broker.peer(), broker.peer()
    first, second = gone_before.submit(b"f"), gone_after.submit(b"f")
    assert [worker.grab(), worker.grab()] == [first, second]
    gone_before.leave()
    worker.send(PacketType.WORK_FAIL, first)
    assert broker.status(b"f") == (1, 1, 1)
    worker.send(PacketType.WORK_FAIL, second)
    gone_after.leave()
    assert broker.status(b"f") == (0, 0, 1)


def test_a_cancelled_job_that_fails_is_not_tried_again(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=5, backoff_s=0)
    worker = broker.worker(b"f")
    handle = broker.peer().submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    broker.peer().text(b"cancel job " + handle)
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.grab() is None


def test_failures_and_losses_have_separate_limits_and_both_count_as_attempts(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, crash_retries=1, backoff_s=0)
    client = broker.peer()
    handle = client.submit(b"f")
    attempts = []
    for ends in ("lost", "failed", "lost"):
        worker = broker.worker(b"f")
        worker.ask(PacketType.OPTION_REQ, b"job-attempt")
        [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
        assert packet_type == JOB_ASSIGN_ATTEMPT
        attempts.append(body.split(b"\0")[3])
        if ends == "failed":
            worker.send(PacketType.WORK_FAIL, handle)
        worker.leave()
    assert attempts == [b"1", b"2", b"3"]
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_the_work_fail_that_perl_sends_after_an_exception_is_ignored(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, backoff_s=0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    for _ in range(2):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_EXCEPTION, handle, b"boom")
        assert worker.ask(PacketType.WORK_FAIL, handle) == []
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_a_durable_store_gets_every_failed_attempt(
    broker_with: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = broker_with(store=batch_store, retries=2, backoff_s=1)
    client, worker = broker.peer(), broker.worker(b"f")
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    [(_, handle)] = client.take()
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    job = broker.broker.table.jobs[handle]
    assert job.history is not None
    assert job.history.not_before == broker.unix_time + 1
    broker.advance(1)
    assert worker.grab() == handle
    worker.leave()
    # Each assignment too: an attempt counts even if its server ends.
    assert batch_store.updates == [(handle, 1), (handle, 2), (handle, 2), (handle, 3)]
    assert job.history.not_before is None


# --- the running server


def test_a_real_server_retries_at_the_right_time_and_never_early(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("functions:\n  f: {retries: 1, backoff: 300ms}\n")
    server = start_server("--policies", str(path), "-v")
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
    failed_at = time.monotonic()
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.ask(PacketType.PRE_SLEEP) == (PacketType.NOOP, b"")
    assert 0.3 * 0.8 - 0.01 <= time.monotonic() - failed_at < 0.3 * 1.2 + 2  # later on a busy machine, never earlier
    server.wait_for_log("attempt 1 failed, the next follows in 0.")
    assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")
