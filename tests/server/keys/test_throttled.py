"""The verdict `throttle`: a job goes back without having cost an attempt, and its key or function is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gearman_client.extensions import SUBMIT_JOB_WITH, WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs.events import JobThrottled
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate
from gearman_server.keys.key_rules import table_of
from gearman_server.requests.queue_events import COALESCING_S

from ..broker_harness import UNIX_TIME, BrokerHarness, Peer

NOOP = (PacketType.NOOP, b"")
BrokerWith = Callable[..., BrokerHarness]


def submit(peer: Peer, key: bytes, *pairs: bytes) -> bytes:
    pairs += (b"key=" + key,) if key else ()
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", *pairs, b"", key)
    assert packet_type == PacketType.JOB_CREATED
    return body


def throttle(worker: Peer, handle: bytes, wait_ms: int = 5000, scope: bytes = b"key") -> None:
    assert worker.ask(WORK_FAILURE, handle, b"throttle", b"%d" % wait_ms, scope, b"421 too many", b"") == []


POLICIES = [
    pytest.param({}, id="without rules for keys"),
    pytest.param({"keys": KeyPolicy(is_fair=True)}, id="fair"),
    pytest.param({"keys": KeyPolicy(max_running=5), "max_running": 9, "rate": Rate(99, 1)}, id="with limits"),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_only_the_jobs_key_is_held_and_the_job_goes_first_afterwards(
    broker_with: BrokerWith, policy: dict[str, Any]
) -> None:
    broker = broker_with(retries=0, **policy)
    events: list[Any] = []
    broker.broker.events.subscribe(events.append, JobThrottled)
    client, worker = broker.peer(), broker.worker(b"f")
    first, second, other = (submit(client, key) for key in (b"gmail", b"gmail", b"other"))
    assert worker.grab() == first
    throttle(worker, first)
    assert [(event.held, event.wait_s, event.reason) for event in events] == [("the key 'gmail'", 5.0, b"421 too many")]
    broker.do_chores()
    assert worker.grab() == other
    assert worker.grab() is None
    assert b"\nfailures\t0\n" in client.text(b"jobs show " + first)
    worker.ask(PacketType.PRE_SLEEP)
    broker.advance(4.9)
    assert worker.take() == []
    broker.advance(0.1)
    assert worker.take() == [NOOP]
    assert [worker.grab(), worker.grab()] == [first, second]
    broker.advance(3.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_or_the_whole_function(broker_with: BrokerWith, policy: dict[str, Any]) -> None:
    broker = broker_with(**policy)
    client, worker, sleeper = broker.peer(), broker.worker(b"f", b"g"), broker.worker(b"f")
    first = submit(client, b"a")
    assert worker.grab() == first
    submit(client, b"b")
    throttle(worker, first, scope=b"function")
    assert worker.grab() is None
    assert worker.grab() is None
    assert sleeper.ask(PacketType.PRE_SLEEP) == []
    assert client.submit(b"g") == worker.grab()  # others are served
    broker.advance(4.99)
    assert sleeper.take() == []
    broker.advance(0.02)
    assert sleeper.take() == [NOOP]
    assert sleeper.grab() == first


@pytest.mark.parametrize("policy", [{}, {"keys": KeyPolicy(is_fair=True)}, {"keys": KeyPolicy(max_running=5)}])
def test_a_lapse_of_the_servers_lease_does_not_end_the_hold(broker_with: BrokerWith, policy: dict[str, Any]) -> None:
    broker = broker_with(**policy)
    durable_jobs = broker.broker.take_part().durable_jobs
    client, worker = broker.peer(), broker.worker(b"f")
    first = submit(client, b"a")
    assert worker.grab() == first
    throttle(worker, first, scope=b"function")
    broker.advance(1.0)
    durable_jobs.withhold()
    durable_jobs.give_out()
    assert worker.grab() is None
    broker.advance(4.1)
    assert worker.grab() == first


def test_a_held_function_is_shown_until_that_ends_or_it_is_resumed(broker_with: BrokerWith) -> None:
    broker = broker_with()
    client, worker, watcher = broker.peer(), broker.worker(b"f"), broker.peer()
    watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    until_ms = round(UNIX_TIME * 1000) + 1000

    def told() -> bytes:
        broker.advance(COALESCING_S)
        return watcher.take()[-1][1]

    first = submit(client, b"a")
    assert worker.grab() == first
    throttle(worker, first, 1000, scope=b"function")
    assert client.text(b"holds") == b"f\tthrottled\t%.3f\t%.3f\n.\n" % (UNIX_TIME, UNIX_TIME + 1)
    assert told() == b"f\x000\x000\x001\x001\x000\x000\x000\x00%d" % until_ms
    broker.advance(1)
    assert client.text(b"holds") == b".\n"
    assert told() == b"f\x001\x000\x001\x001"
    assert worker.grab() == first
    throttle(worker, first, scope=b"function")
    assert worker.grab() is None
    assert client.text(b"resume function f") == b"OK\r\n"
    assert (client.text(b"holds"), worker.grab()) == (b".\n", first)


def test_a_longer_hold_wins_and_new_rules_leave_holds_alone(broker_with: BrokerWith) -> None:
    broker = broker_with()
    client, worker = broker.peer(), broker.worker(b"f")
    handles = [submit(client, key) for key in (b"a", b"b", b"c")]
    assert [worker.grab() for _ in range(3)] == handles
    throttle(worker, handles[0], 9000)
    throttle(worker, handles[1], 3000, b"function")
    throttle(worker, handles[2], 1000)
    broker.broker.use_policies({b"f": FunctionPolicy(max_running=10)})
    broker.advance(2.9)
    assert worker.grab() is None
    broker.advance(0.2)
    assert {worker.grab(), worker.grab()} == {handles[1], handles[2]}
    broker.broker.use_policies({b"f": FunctionPolicy(keys=KeyPolicy(is_fair=True))})
    broker.do_chores()
    assert worker.grab() is None
    broker.broker.use_policies({})
    broker.advance(5.8)
    assert worker.grab() is None
    broker.advance(0.2)
    assert worker.grab() == handles[0]


def test_nothing_is_left_of_a_hold_that_is_over(broker_with: BrokerWith) -> None:
    broker = broker_with()
    client, worker = broker.peer(), broker.worker(b"f")
    function = broker.broker.functions.by_name[b"f"]
    for scope in (b"key", b"function"):
        handle = submit(client, b"a")
        assert worker.grab() == handle
        throttle(worker, handle, 1000, scope)
        assert function.throttle is not None
        broker.advance(1.0)
        assert worker.grab() == handle
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        for _ in range(3):
            broker.advance(1.0)
        assert function.throttle is None
        assert table_of(function) is None


def test_a_job_that_nobody_wants_any_more_or_that_has_expired_does_not_come_back(broker_with: BrokerWith) -> None:
    broker = broker_with()
    client, worker = broker.peer(), broker.worker(b"f")
    cancelled = submit(client, b"a")
    assert worker.grab() == cancelled
    client.text(b"cancel job " + cancelled)
    throttle(worker, cancelled)
    expired = submit(client, b"b", b"expires_in=1000")
    assert worker.grab() == expired
    broker.advance(2.0)
    throttle(worker, expired)
    waiting = submit(client, b"a")
    assert broker.status(b"f") == (1, 0, 1)
    assert worker.grab() is None  # the hold is none the less
    broker.advance(3.0)
    assert worker.grab() == waiting


@pytest.mark.parametrize("arguments", [(b"throttle", b"1", b"pool"), (b"throttle", b"1", b""), (b"stop", b"1", b"key")])
def test_other_words_break_the_protocol(broker: BrokerHarness, arguments: tuple[bytes, ...]) -> None:
    handle, worker = broker.peer().submit(b"f"), broker.worker(b"f")
    worker.grab()
    [(packet_type, body)] = worker.ask(WORK_FAILURE, handle, *arguments, b"", b"")
    assert packet_type == PacketType.ERROR
    assert body.startswith(b"INVALID_PACKET\0")
