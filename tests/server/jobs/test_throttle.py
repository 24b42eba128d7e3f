"""`max_queue`, `max_running` and `rate`: limits for a function's waiting jobs, running jobs, and starts in a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy, Rate

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess
from ..stream_peer import StreamPeer


def submit(broker: BrokerHarness, count: int, function: bytes = b"f") -> list[bytes]:
    client = broker.peer()
    return [client.submit(function, kind="SUBMIT_JOB_BG") for _ in range(count)]


def refused(broker: BrokerHarness, function: bytes = b"f", kind: str = "SUBMIT_JOB_BG") -> bool:
    [(packet_type, body)] = broker.peer().ask(PacketType[kind], function, b"", b"w")
    return packet_type == PacketType.ERROR and body.startswith(b"QUEUE_ERROR\0")


# --- max_queue


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_HIGH", "SUBMIT_JOB_LOW_BG"])
def test_a_submission_is_refused_while_this_many_jobs_wait(
    broker_with: Callable[..., BrokerHarness], kind: str
) -> None:
    broker = broker_with(max_queue=2)
    worker = broker.worker(b"f")
    submit(broker, 2)
    assert refused(broker, kind=kind)
    worker.grab()
    assert not refused(broker, kind=kind)  # one runs, one waits


def test_delayed_jobs_and_retries_count_and_a_retry_is_never_refused(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(max_queue=1, retries=1, backoff_s=10)
    worker = broker.worker(b"f")
    [handle] = submit(broker, 1)
    worker.grab()
    submit(broker, 1)
    worker.send(PacketType.WORK_FAIL, handle)
    assert broker.status(b"f") == (2, 0, 1)
    assert refused(broker)
    broker.advance(10)
    assert len({worker.grab(), worker.grab()}) == 2


def test_a_submission_that_joins_a_job_is_not_refused(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_queue=1)
    handle = broker.peer().submit(b"f", unique=b"u")
    assert broker.peer().submit(b"f", unique=b"u") == handle


def test_maxqueue_and_max_queue_both_hold(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_queue=2)
    operator = broker.peer()
    submit(broker, 1)
    assert operator.text(b"maxqueue f 1") == b"OK\r\n"
    assert refused(broker)
    assert operator.text(b"show maxqueue f") == b"f\t1\t1\t1\n.\n"
    operator.text(b"maxqueue f 100")
    submit(broker, 1)
    assert refused(broker)
    broker.broker.use_policies({})
    assert not refused(broker)


# --- max_running


def test_no_more_than_max_running_jobs_run_on_all_workers_together(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_running=2)
    handles = submit(broker, 3)
    workers = [broker.worker(b"f") for _ in range(3)]
    assert [worker.grab() for worker in workers] == [*handles[:2], None]
    workers[0].send(PacketType.WORK_COMPLETE, handles[0], b"")
    assert workers[2].grab() == handles[2]


def test_meanwhile_a_worker_gets_a_job_of_another_function(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_running=1)
    first, _ = submit(broker, 2)
    [other] = submit(broker, 1, b"g")
    worker = broker.worker(b"f", b"g")
    assert [worker.grab(), worker.grab(), worker.grab()] == [first, other, None]


@pytest.mark.parametrize("how", ["complete", "fail", "lose", "give up", "time out", "cancel and complete"])
def test_the_end_of_a_running_job_wakes_one_sleeper_for_the_next(
    broker_with: Callable[..., BrokerHarness], how: str
) -> None:
    broker = broker_with(max_running=1, timeout_s=5)
    first, second = submit(broker, 2)
    worker = broker.worker(b"f")
    sleepers = [broker.worker(b"f") for _ in range(3)]
    assert worker.grab() == first
    for sleeper in sleepers:
        assert sleeper.ask(PacketType.PRE_SLEEP) == []
    if how == "complete":
        worker.send(PacketType.WORK_COMPLETE, first, b"")
    elif how == "fail":
        worker.send(PacketType.WORK_FAIL, first)
    elif how == "lose":
        worker.leave()
    elif how == "give up":
        worker.send(PacketType.CANT_DO, b"f")
    elif how == "time out":
        broker.advance(7)
    else:
        broker.peer().text(b"cancel job " + first)
        assert [sleeper.take() for sleeper in sleepers] == [[], [], []]  # the worker of the job is still busy with it
        worker.send(PacketType.WORK_COMPLETE, first, b"")
    woken = [sleeper for sleeper in sleepers if sleeper.take() == [(PacketType.NOOP, b"")]]
    assert len(woken) == (2 if how in ("lose", "give up") else 1)  # a job that came back is one more reason to wake
    assert woken[0].grab() == second


def test_a_worker_that_goes_on_takes_the_place_that_it_freed_and_no_sleeper_is_woken(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(max_running=1)
    first, second = submit(broker, 2)
    worker, sleeper = broker.worker(b"f"), broker.worker(b"f")
    worker.grab()
    sleeper.send(PacketType.PRE_SLEEP)
    broker.broker.receive(
        worker.session, [(PacketType.WORK_COMPLETE, first + b"\0"), (PacketType.GRAB_JOB, b"")], broker.now
    )
    assert worker.take()[0][1].startswith(second)
    assert sleeper.take() == []


def test_when_the_woken_worker_does_not_come_another_is_woken(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_running=1)
    sleepers = [broker.worker(b"f") for _ in range(2)]
    for sleeper in sleepers:
        sleeper.send(PacketType.PRE_SLEEP)
    submit(broker, 1)
    assert [sleeper.take() for sleeper in sleepers] == [[(PacketType.NOOP, b"")], []]
    sleepers[0].leave()
    broker.advance(0.06)
    assert sleepers[1].take() == [(PacketType.NOOP, b"")]


def test_raising_the_limit_wakes_a_sleeper(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_running=1)
    submit(broker, 3)
    worker, sleeper = broker.worker(b"f"), broker.worker(b"f")
    worker.grab()
    sleeper.send(PacketType.PRE_SLEEP)
    broker.broker.use_policies({b"f": FunctionPolicy(max_running=2)})
    assert sleeper.take() == [(PacketType.NOOP, b"")]


# --- rate


def test_a_rate_limits_the_starts_in_any_interval_of_its_length(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(rate=Rate(3, 60))
    submit(broker, 20)
    worker = broker.worker(b"f")
    starts = []
    for _ in range(300):
        while worker.grab() is not None:
            starts.append(broker.now)
        broker.advance(1)
    assert len(starts) == 15
    for index in range(len(starts) - 3):
        assert starts[index + 3] - starts[index] >= 60
    assert starts[2] == starts[0]  # the whole allowance may start at once


def test_sleepers_are_woken_when_the_rate_allows_the_next_start_and_not_before(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(rate=Rate(1, 10))
    submit(broker, 2)
    worker = broker.worker(b"f")
    assert worker.grab() is not None
    assert worker.grab() is None
    assert worker.ask(PacketType.PRE_SLEEP) == []
    broker.advance(9.9)
    assert worker.take() == []
    broker.advance(0.1)
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() is not None


def test_after_a_reload_sleepers_are_still_woken_when_the_rate_allows(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(rate=Rate(1, 10))
    worker = broker.worker(b"f")
    handle, _ = submit(broker, 2)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert worker.ask(PacketType.PRE_SLEEP) == []
    broker.broker.use_policies({b"f": FunctionPolicy(rate=Rate(1, 10))})
    broker.advance(9)
    assert worker.take() == []
    broker.advance(1)
    assert worker.take() == [(PacketType.NOOP, b"")]


def test_a_job_that_arrives_while_the_rate_is_used_up_wakes_no_sleeper_yet(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(rate=Rate(1, 10))
    worker = broker.worker(b"f")
    submit(broker, 1)
    worker.grab()
    worker.send(PacketType.PRE_SLEEP)
    submit(broker, 1)
    assert worker.take() == []
    broker.advance(10)
    assert worker.take() == [(PacketType.NOOP, b"")]


def test_earlier_starts_count_after_the_policies_are_reloaded(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(rate=Rate(2, 10))
    submit(broker, 9)
    worker = broker.worker(b"f")
    assert [worker.grab() is None for _ in range(3)] == [False, False, True]
    broker.broker.use_policies({b"f": FunctionPolicy(rate=Rate(3, 10))})
    assert [worker.grab() is None for _ in range(2)] == [False, True]
    broker.broker.use_policies({b"f": FunctionPolicy(rate=Rate(1, 10))})
    worker.send(PacketType.PRE_SLEEP)
    broker.advance(10)
    broker.advance(0)
    assert worker.take() == [(PacketType.NOOP, b"")]


def test_jobs_that_may_not_start_are_not_reported_as_waiting_in_queue_events(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(rate=Rate(2, 10), max_running=3)
    watcher, worker = broker.peer(), broker.worker(b"f")
    watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    submit(broker, 9)

    def told() -> list[bytes]:
        broker.advance(0.05)
        broker.advance(0.05)
        return [body for _, body in watcher.take()][-1:]

    assert told() == [b"f\x002\x000\x001\x009"]
    worker.grab(), worker.grab()
    assert told() == [b"f\x000\x002\x001\x007"]
    broker.advance(10)
    assert told() == [b"f\x001\x002\x001\x007"]  # two tokens, one place
    assert broker.status(b"f") == (9, 2, 1)


# --- the running server


class Crew:
    """Raw workers in threads, which record how many jobs run at once and how often they asked."""

    def __init__(self, server: ServerProcess, size: int) -> None:
        self.done = threading.Semaphore(0)
        self.most = self.grabs = self._running = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=[server.peer()]) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=20)

    def _work(self, peer: StreamPeer) -> None:
        peer.send(PacketType.CAN_DO, b"f")
        with contextlib.suppress(OSError):  # until the server ends
            while True:
                packet_type, body = peer.ask(PacketType.GRAB_JOB)
                self._count(grabs=1)
                if packet_type == PacketType.NO_JOB:
                    assert peer.ask(PacketType.PRE_SLEEP) == (PacketType.NOOP, b"")
                    continue
                self._count(running=1)
                time.sleep(0.001)  # the job's work
                self._count(running=-1)
                peer.send(PacketType.WORK_COMPLETE, body.split(b"\0")[0], b"")
                self.done.release()

    def _count(self, grabs: int = 0, running: int = 0) -> None:
        with self._lock:
            self.grabs += grabs
            self._running += running
            self.most = max(self.most, self._running)


def test_workers_of_a_limited_function_run_its_jobs_one_by_one_without_constant_requests(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("functions:\n  f: {max_running: 1, rate: 40/s}\n")
    server = start_server("--policies", str(path))
    client = server.peer()
    for _ in range(60):
        client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    started = time.monotonic()
    crew = Crew(server, 4)
    for _ in range(60):
        assert crew.done.acquire(timeout=20)
    assert time.monotonic() - started >= 1  # forty at once, the others a second later
    assert crew.most == 1
    assert crew.grabs < 10 * 60
    server.process.kill()
    crew.join()
