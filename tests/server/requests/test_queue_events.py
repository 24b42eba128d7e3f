"""The extension `queue-events`: the counts of every function at once, then those of changed functions, coalesced."""

from __future__ import annotations

import time

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.agenda import STEP

from ..broker_harness import BrokerHarness, Peer
from ..server_process import ServerProcess

QUEUE_CHANGED = 1001
COALESCING_S = 0.02


def changed(function: bytes, queued: int, running: int, workers: int, waiting: int | None = None) -> tuple[int, bytes]:
    waiting = queued if waiting is None else waiting
    return (QUEUE_CHANGED, b"%s\0%d\0%d\0%d\0%d" % (function, queued, running, workers, waiting))


@pytest.fixture
def watcher(broker: BrokerHarness) -> Peer:
    """A connection that listens to the queues of an empty server."""
    peer = broker.peer()
    assert peer.ask(PacketType.OPTION_REQ, b"Queue-Events") == [(PacketType.OPTION_RES, b"Queue-Events")]
    return peer


def test_a_new_listener_gets_every_function_at_once(broker: BrokerHarness) -> None:
    client = broker.peer()
    broker.worker(b"f").send(PacketType.CAN_DO, b"g")
    client.submit(b"g")
    client.submit(b"g")
    broker.worker(b"g").grab()
    answers = broker.peer().ask(PacketType.OPTION_REQ, b"queue-events")
    assert answers == [(PacketType.OPTION_RES, b"queue-events"), changed(b"f", 0, 0, 1), changed(b"g", 1, 1, 2)]


def test_a_change_is_reported_at_the_next_tick(broker: BrokerHarness, watcher: Peer) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    client.submit(b"f")
    worker.grab()
    assert watcher.take() == []
    broker.advance(0)
    assert watcher.take() == [changed(b"f", 0, 1, 1)]
    assert watcher.session in broker.broker.touched


def test_changes_within_20_ms_are_reported_together(broker: BrokerHarness, watcher: Peer) -> None:
    client = broker.peer()
    client.submit(b"f")
    broker.advance(0)
    assert watcher.take() == [changed(b"f", 1, 0, 0)]
    for _ in range(9):
        client.submit(b"f")
        assert broker.broker.next_due == pytest.approx(1000 + COALESCING_S)
    broker.advance(COALESCING_S - 0.001)
    assert watcher.take() == []
    broker.advance(0.001)
    assert watcher.take() == [changed(b"f", 10, 0, 0)]


def test_only_changed_functions_are_reported(broker: BrokerHarness, watcher: Peer) -> None:
    client = broker.peer()
    for function in (b"f", b"g"):
        client.submit(function)
    broker.advance(0)
    watcher.take()
    client.submit(b"g")
    broker.advance(1)
    assert watcher.take() == [changed(b"g", 2, 0, 0)]


def test_a_quiet_server_has_nothing_to_do(broker: BrokerHarness, watcher: Peer) -> None:
    broker.peer().submit(b"f")
    broker.advance(0)
    assert broker.advance(1) is None


def test_a_lost_worker_and_a_timeout_are_changes(broker: BrokerHarness, watcher: Peer) -> None:
    client, slow, lost = broker.peer(), broker.peer(), broker.worker(b"f")
    slow.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    client.submit(b"f")
    slow.grab()
    broker.advance(0)
    assert watcher.take() == [changed(b"f", 0, 1, 2)]
    lost.leave()
    broker.advance(0.5)
    assert watcher.take() == [changed(b"f", 0, 1, 1)]
    broker.advance(1)
    broker.advance(0)
    assert watcher.take() == [changed(b"f", 1, 0, 1)]


def test_a_dropped_function_is_reported_as_empty(broker: BrokerHarness, watcher: Peer) -> None:
    broker.peer().submit(b"f")
    broker.advance(0)
    watcher.take()
    assert broker.peer().text(b"drop function f") == b"OK\r\n"
    broker.advance(1)
    assert watcher.take() == [changed(b"f", 0, 0, 0)]


def test_a_second_request_for_events_reports_nothing_twice(broker: BrokerHarness, watcher: Peer) -> None:
    assert watcher.ask(PacketType.OPTION_REQ, b"queue-events") == [(PacketType.OPTION_RES, b"queue-events")]
    broker.peer().submit(b"f")
    broker.advance(0)
    assert watcher.take() == [changed(b"f", 1, 0, 0)]


def test_without_a_listener_nothing_is_scheduled(broker: BrokerHarness, watcher: Peer) -> None:
    watcher.leave()
    broker.advance(1)
    broker.peer().submit(b"f")
    assert broker.broker.next_due is None


def test_a_real_server_reports_a_change_soon_and_unasked(server: ServerProcess) -> None:
    watcher, client = server.peer(), server.peer()
    assert watcher.ask(PacketType.OPTION_REQ, b"queue-events")[0] == PacketType.OPTION_RES
    started = time.monotonic()
    client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert watcher.receive() == changed(b"f", 1, 0, 0)
    client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert watcher.receive() == changed(b"f", 2, 0, 0)
    assert time.monotonic() - started >= COALESCING_S


def test_a_job_that_is_assigned_at_the_end_of_the_pass_is_reported_as_running(
    broker: BrokerHarness, watcher: Peer
) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    worker.send(PacketType.GRAB_JOB)
    client.send(PacketType.SUBMIT_JOB, b"f", b"", b"w")
    broker.advance(0)  # the timer runs before the end of the pass
    assert [packet_type for packet_type, _ in worker.take()] == [PacketType.JOB_ASSIGN]
    broker.advance(COALESCING_S)
    assert watcher.take()[-1] == changed(b"f", 0, 1, 1)


def test_very_many_functions_are_told_a_few_at_a_time_and_a_new_listener_knows_all_in_the_end(
    broker: BrokerHarness,
) -> None:
    names = [b"f%d" % number for number in range(10 * STEP)]
    worker, client, first = broker.worker(*names), broker.peer(), broker.peer()
    first.ask(PacketType.OPTION_REQ, b"queue-events")
    late = broker.peer()
    late.begin((PacketType.OPTION_REQ, b"queue-events"), (PacketType.ECHO_REQ, b"x"))
    told = late.take()
    assert 1 < len(told) <= 2 * STEP
    for name in names:
        client.submit(name)
    broker.advance(1)
    assert len(first.take()) == STEP
    broker.do_chores()
    late.have_turns()
    told += late.take()
    assert (PacketType.ECHO_RES, b"x") in told
    assert {body.partition(b"\0")[0]: body for packet_type, body in told if packet_type == QUEUE_CHANGED} == {
        name: changed(name, 1, 0, 1)[1] for name in names
    }
    worker.leave()
    broker.do_chores()
    broker.advance(1)
    broker.do_chores()
    assert {body.partition(b"\0")[0]: body for _, body in first.take()} == {
        name: changed(name, 1, 0, 0)[1] for name in names
    }
