"""`crash_retries`: the number of further attempts after a job's worker was lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess


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


# --- the running server


def test_each_job_that_failed_for_good_has_one_line_with_its_attempts_and_the_reason(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {crash_retries: 1, retries: 1, backoff: 0s}}\n")
    server = start_server("--policies", str(policies))  # it logs errors, nothing else
    client = server.peer()

    def submit(kind: PacketType) -> bytes:
        return client.ask(kind, b"f", b"", b"w")[1]

    poison = submit(PacketType.SUBMIT_JOB_BG)
    for _ in range(2):
        worker = server.peer()
        worker.send(PacketType.CAN_DO, b"f")
        worker.ask(PacketType.GRAB_JOB)
        worker.close()
    line = server.wait_for_log(f"job {poison.decode()} of f: ")
    assert "failed for good, attempts: 2; its worker's connection ended" in line
    assert "ERROR" in line
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    for kind, answer, reason in (
        (PacketType.SUBMIT_JOB_BG, (PacketType.WORK_EXCEPTION, b"boom\x1b[2J"), "boom\\x1b[2J"),
        (PacketType.SUBMIT_JOB, (PacketType.WORK_FAIL,), "its worker gave no reason"),
    ):
        handle = submit(kind)
        for _ in range(2):
            worker.ask(PacketType.GRAB_JOB)
            worker.send(answer[0], handle, *answer[1:])
        worker.sync()
        line = server.wait_for_log(f"job {handle.decode()} of f: failed for good, attempts: 2; ")
        assert line.endswith(reason)
    assert server.passed == []  # no other line, and none twice


def test_a_job_that_nobody_wants_any_more_has_no_line(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    assert server.text(b"cancel job " + handle) == b"OK\r\n"
    worker.send(PacketType.WORK_FAIL, handle)
    worker.sync()
    last = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_FAIL, last)
    server.wait_for_log(last.decode())
    assert server.passed == []
