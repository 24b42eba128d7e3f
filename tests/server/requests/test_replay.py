"""The return of stored jobs: order, unique keys and handles while some of them are still unread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs import functions
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.session import SLEEPING

from ..broker_harness import BatchStore, BrokerHarness
from .replayed import CREATED, Replayed, stored, submit, workloads


def test_read_jobs_are_served_while_others_are_unread(replayed: Replayed) -> None:
    worker = replayed.harness.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    replayed.read_to(1)
    replayed.load(stored(1))
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() == b"H:old:1"


def test_new_jobs_queue_behind_the_unread_ones_of_their_priority(replayed: Replayed) -> None:
    client, worker = replayed.harness.peer(), replayed.harness.worker(b"f")
    replayed.read_to(1)
    replayed.load(stored(1))
    submit(client, b"new low", kind=PacketType.SUBMIT_JOB_LOW)
    submit(client, b"new normal")
    submit(client, b"new high", kind=PacketType.SUBMIT_JOB_HIGH)
    # All high ones have been read: a new one may run at once.
    assert workloads(worker) == [b"new high", b"old 1"]
    worker.send(PacketType.PRE_SLEEP)
    replayed.load(stored(2))
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert workloads(worker) == [b"old 2"]
    replayed.replay.end_of_priority(replayed.harness.now)
    assert workloads(worker) == [b"new normal"]
    replayed.load(stored(3, priority=2))
    assert workloads(worker) == [b"old 3"]
    worker.send(PacketType.PRE_SLEEP)
    replayed.end()
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert workloads(worker) == [b"new low"]
    assert replayed.harness.status(b"f") == (6, 6, 1)


def test_counts_are_right_while_jobs_come_back(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    replayed.read_to(1)
    replayed.load(stored(1), stored(2), stored(3))
    submit(client, b"new")
    assert replayed.harness.status(b"f") == (4, 0, 0)
    assert replayed.once_written(client, b"cancel job H:old:2") == b"OK\r\n"
    assert replayed.harness.status(b"f") == (3, 0, 0)
    replayed.end()
    replayed.end()
    assert replayed.harness.status(b"f") == (3, 0, 0)
    assert workloads(replayed.harness.worker(b"f")) == [b"old 1", b"old 3", b"new"]


def test_a_retry_keeps_its_time_and_its_number(replayed: Replayed) -> None:
    worker = replayed.harness.worker(b"f")
    replayed.read_to(1)
    replayed.load(stored(1, failures=1, requeues=1, error=b"e", run_at=replayed.harness.unix_time + 2.5))
    replayed.end()
    replayed.end()
    assert worker.grab() is None
    replayed.harness.advance(2.6)
    assert worker.grab() == b"H:old:1"
    assert replayed.harness.broker.table.jobs[b"H:old:1"].attempt == 3


def test_a_row_whose_function_has_no_valid_name_is_reported_and_the_others_are_served(replayed: Replayed) -> None:
    replayed.read_to(1)
    assert replayed.load(stored(1, function=b"a\nb"), stored(2)) == [(1, "The function name holds a control character")]
    assert workloads(replayed.harness.worker(b"f")) == [b"old 2"]


@pytest.mark.pure_core
def test_stored_jobs_come_back_whatever_the_number_of_functions(
    monkeypatch: pytest.MonkeyPatch, make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    monkeypatch.setattr(functions, "MANY_FUNCTIONS", 1)
    monkeypatch.setattr(functions, "MAX_FUNCTIONS", 1)
    replayed = Replayed(make_broker, batch_store)
    worker = replayed.harness.worker(b"other")
    replayed.read_to(1)
    assert replayed.load(stored(1)) == []
    assert worker.ask(PacketType.CAN_DO, b"new")[0][0] == PacketType.ERROR
    assert replayed.harness.status(b"f") == (1, 0, 0)


@pytest.mark.pure_core
def test_a_function_whose_jobs_are_behind_unread_ones_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    monkeypatch.setattr(functions, "MANY_FUNCTIONS", 1)
    replayed = Replayed(make_broker, batch_store)
    client = replayed.harness.peer()
    replayed.read_to(1)
    assert submit(client, b"behind")[0][0] == CREATED
    assert client.text(b"create function other") == b"OK\r\n"
    replayed.end()
    replayed.end()
    assert client.text(b"create function third") == b"OK\r\n"
    assert client.text(b"status") == b"f\t1\t0\t0\nthird\t0\t0\t0\n.\n"
    assert workloads(replayed.harness.worker(b"f")) == [b"behind"]


def test_a_throttled_function_wakes_no_worker_for_jobs_that_must_wait_for_older_ones(replayed: Replayed) -> None:
    harness = replayed.harness
    harness.broker.use_policies({b"f": FunctionPolicy(max_running=1)})
    worker = harness.worker(b"f", b"g")
    submit(harness.peer(), b"new", kind=PacketType.SUBMIT_JOB_BG)
    assert worker.ask(PacketType.PRE_SLEEP) == []
    assert worker.session.worker_state is SLEEPING
    replayed.read_to(1)
    replayed.end()
    assert worker.take() == [(PacketType.NOOP, b"")]


def test_with_worker_wakeup_each_job_that_comes_back_wakes_that_number_of_sleepers(
    make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    replayed = Replayed(partial(make_broker, worker_wakeup=1), batch_store)
    workers = [replayed.harness.worker(b"f") for _ in range(5)]
    for worker in workers:
        worker.send(PacketType.PRE_SLEEP)
    replayed.read_to(1)
    replayed.load(stored(1), stored(2), stored(3))
    assert [worker.take() != [] for worker in workers] == [True] * 3 + [False] * 2


def test_dropping_a_function_also_removes_its_jobs_behind_unread_ones(replayed: Replayed) -> None:
    client = replayed.harness.peer()
    replayed.read_to(1)
    submit(client, b"new")
    [(_, handle)] = submit(client, b"newer")
    assert replayed.once_written(replayed.harness.peer(), b"drop function f") == b"OK\r\n"
    assert client.take()[-1] == (PacketType.WORK_FAIL, handle)
    assert replayed.harness.broker.table.jobs == {}
