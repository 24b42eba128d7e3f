"""SUBMIT_JOB_EPOCH: jobs that do not run before their time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer
from ..server_process import ServerProcess

NOOP = [(PacketType.NOOP, b"")]


@pytest.fixture
def submit_in(broker: BrokerHarness) -> Callable[..., bytes]:
    """Submits an epoch job that is due in this number of seconds; returns its handle."""

    def submit(
        seconds: int,
        workload: bytes = b"later",
        unique: bytes = b"",
        function: bytes = b"f",
        client: Peer | None = None,
    ) -> bytes:
        when = b"%d" % (broker.unix_time + seconds)
        [(packet_type, handle)] = (client or broker.peer()).ask(
            PacketType.SUBMIT_JOB_EPOCH, function, unique, when, workload
        )
        assert packet_type == PacketType.JOB_CREATED
        return handle

    return submit


def test_a_job_does_not_run_before_its_time_and_then_at_once(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    worker = broker.worker(b"f")
    handle = submit_in(10)
    broker.advance(9.9)
    assert worker.grab() is None
    assert worker.ask(PacketType.PRE_SLEEP) == []
    broker.advance(0.1)
    assert worker.take() == NOOP
    assert worker.grab() == handle


@pytest.mark.parametrize("when", [b"0", b"1", b"-5", b"1699999999", b"1700000000", b"-9223372036854775807"])
def test_a_time_that_has_passed_means_now(broker: BrokerHarness, when: bytes) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    [(_, handle)] = broker.peer().ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", when, b"w")
    assert worker.take() == NOOP
    assert worker.grab() == handle


@pytest.mark.parametrize("when", [b"", b"soon", b"12x", b" 12", b"1.5", b"9223372036854775808", b"9" * 30, b"+-1"])
def test_an_invalid_time_is_refused_and_creates_no_job(broker: BrokerHarness, when: bytes) -> None:
    client = broker.peer()
    [(packet_type, error)] = client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"u", when, b"w")
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_ARGUMENT")
    assert client.session.ending is None
    assert client.text(b"status") == b".\n"


def test_too_few_arguments_end_the_connection(broker: BrokerHarness) -> None:
    client = broker.peer()
    [(packet_type, error)] = client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"u", b"12")
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert client.session.ending is not None


def test_the_largest_possible_time_does_no_harm(broker: BrokerHarness) -> None:
    broker.peer().ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"9223372036854775807", b"w")
    broker.advance(1e6)
    assert broker.status(b"f") == (1, 0, 0)


def test_sleepers_are_woken_when_the_time_comes_and_not_before(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    submit_in(5)
    assert worker.take() == []
    broker.advance(5)
    assert worker.take() == NOOP


def test_a_later_normal_job_runs_first(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    delayed = submit_in(5)
    normal = client.submit(b"f")
    assert [worker.grab(), worker.grab()] == [normal, None]
    broker.advance(5)
    assert worker.grab() == delayed


def test_jobs_are_released_in_the_order_of_their_times(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    worker = broker.worker(b"f")
    handles = [submit_in(seconds) for seconds in (3, 1, 2, 1)]
    broker.advance(60)
    expected = [handles[1], handles[3], handles[2], handles[0]]
    assert [worker.grab() for _ in range(4)] == expected


def test_a_delayed_job_is_known_and_counted_as_queued(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    client = broker.peer()
    handle = submit_in(5, unique=b"u")
    assert broker.status(b"f") == (1, 0, 0)
    assert client.text(b"prioritystatus") == b"f\t0\t1\t0\t0\n.\n"
    assert client.text(b"show jobs") == handle + b"\t0\t0\t1\n.\n"
    assert client.ask(PacketType.GET_STATUS, handle) == [(PacketType.STATUS_RES, handle + b"\x001\x000\x000\x000")]
    assert client.ask(PacketType.GET_STATUS_UNIQUE, b"u") == [
        (PacketType.STATUS_RES_UNIQUE, b"u\x001\x000\x000\x000\x000")
    ]
    broker.advance(5)
    assert broker.status(b"f") == (1, 0, 0)
    assert client.text(b"prioritystatus") == b"f\t0\t1\t0\t0\n.\n"


def test_a_delayed_job_counts_towards_maxqueue(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    client = broker.worker(b"f")
    client.text(b"maxqueue f 1")
    submit_in(5)
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")[0][0] == PacketType.ERROR


def test_a_submission_that_joins_a_delayed_job_waits_for_its_time(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = submit_in(5, unique=b"u")
    assert client.submit(b"f", unique=b"u") == handle
    assert worker.grab() is None
    client.leave()
    broker.advance(5)
    assert worker.grab() == handle


@pytest.mark.parametrize("way", [b"cancel job %s", b"drop function f"])
def test_a_delayed_job_can_be_cancelled(broker: BrokerHarness, submit_in: Callable[..., bytes], way: bytes) -> None:
    handle = submit_in(5, unique=b"u")
    other = submit_in(5, function=b"g")
    assert broker.peer().text(way.replace(b"%s", handle)) == b"OK\r\n"
    assert broker.status(b"f") == (0, 0, 0)
    broker.advance(5)
    assert broker.worker(b"f", b"g").grab() == other
    assert submit_in(5, unique=b"u") != handle


def test_many_cancelled_jobs_leave_nothing_behind(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    client = broker.peer()
    for number in range(500):
        client.text(b"cancel job " + submit_in(1000 + number))
    assert len(broker.broker._life._epoch_timer._delayed._heap) <= 1


def test_after_a_lost_worker_the_job_does_not_wait_again(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    handle = submit_in(5)
    broker.advance(5)
    lost, worker = broker.worker(b"f"), broker.worker(b"f")
    assert lost.grab() == handle
    lost.leave()
    assert worker.grab() == handle


def test_a_delayed_job_needs_no_client(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    client = broker.peer()
    handle = submit_in(5, client=client)
    client.leave()
    broker.advance(5)
    assert broker.worker(b"f").grab() == handle


def test_many_jobs_of_one_moment_are_released_in_portions(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    client = broker.peer()
    for _ in range(2500):
        submit_in(5, client=client)
    broker.advance(5)
    assert 0 < broker.broker.functions.by_name[b"f"].queued < 2500
    for _ in range(2):
        assert broker.broker.next_due is not None
        assert broker.broker.next_due <= broker.now
        broker.advance(0)
    assert broker.broker.functions.by_name[b"f"].queued == 2500
    assert broker.broker.next_due is None


def test_when_the_wall_clock_is_set_back_the_job_waits_for_its_time(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    worker = broker.worker(b"f")
    handle = submit_in(10)
    broker.unix_time -= 30
    broker.advance(10)
    assert worker.grab() is None
    broker.advance(30)
    assert worker.grab() == handle


def test_a_wall_clock_set_forward_is_noticed_within_a_minute(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    worker = broker.worker(b"f")
    handle = submit_in(3600)
    broker.unix_time += 3600
    assert broker.broker.next_due is not None
    assert broker.broker.next_due <= broker.now + 60
    broker.advance(60)
    assert worker.grab() == handle


def test_times_far_apart_cause_no_idle_ticks(broker: BrokerHarness, submit_in: Callable[..., bytes]) -> None:
    for seconds in range(5000, 0, -1):
        submit_in(seconds)
    assert len(broker.broker._agenda._heap) < 200


def test_queue_events_count_a_delayed_job_when_it_is_due(
    broker: BrokerHarness, submit_in: Callable[..., bytes]
) -> None:
    watcher = broker.peer()
    watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    submit_in(5)
    broker.advance(0.1)
    assert watcher.take() == [(1001, b"f\x000\x000\x000\x001")]
    broker.advance(5)
    broker.advance(0.1)
    assert watcher.take() == [(1001, b"f\x001\x000\x000\x001")]


def test_a_sleeping_worker_of_a_real_server_is_woken_on_the_second(server: ServerProcess) -> None:
    worker, client = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    worker.send(PacketType.PRE_SLEEP)
    worker.sync()
    due = int(time.time()) + 2
    packet_type, handle = client.ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % due, b"w")
    assert packet_type == PacketType.JOB_CREATED
    assert worker.receive() == NOOP[0]
    late_s = time.time() - due
    assert 0 <= late_s < 1  # 50 ms on a quiet machine
    assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
