"""`keep_result`: a client can ask for the result of a background job, at once or as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gearman_client.extensions import GET_RESULT, JOB_RESULT_OPTION, RESULT
from gearman_client.packet import PacketType
from gearman_server.jobs import kept_results
from gearman_server.jobs.kept_results import ResultBounds
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.result_waits import MAX_WAITS

from ..broker_harness import BatchStore, BrokerHarness, Peer

KEEP_S = 3600
ENDED = 1_700_000_000


@pytest.fixture
def keeping(make_broker: Callable[..., BrokerHarness]) -> Callable[..., BrokerHarness]:
    """A broker that keeps the results of `f` for an hour."""

    def make(store: BatchStore | None = None, policy: FunctionPolicy | None = None, **bounds: int) -> BrokerHarness:
        broker = make_broker(store=store, results=ResultBounds(**bounds))
        broker.broker.use_policies({b"f": policy or FunctionPolicy(keep_result_s=KEEP_S)})
        return broker

    return make


def submit(broker: BrokerHarness, function: bytes = b"f", unique: bytes = b"") -> bytes:
    return broker.peer().submit(function, b"w", unique, kind="SUBMIT_JOB_BG")


def run(
    broker: BrokerHarness,
    handle: bytes,
    *packets: tuple[Any, ...],
    result: bytes | None = b"result",
    function: bytes = b"f",
) -> Peer:
    """A worker takes the job, sends these packets, and completes it."""
    worker = broker.worker(function)
    assert worker.grab() == handle
    for packet_type, *arguments in packets:
        worker.send(packet_type, handle, *arguments)
    if result is not None:
        worker.send(PacketType.WORK_COMPLETE, handle, result)
    return worker


def ask(client: Peer, handle: bytes, wait_ms: bytes = b"0") -> list[tuple[int, bytes]]:
    return client.ask(GET_RESULT, handle, wait_ms)


def answer(
    handle: bytes,
    state: bytes,
    content: bytes = b"",
    ended: bool = True,
    progress: tuple[bytes, bytes] = (b"0", b"0"),
    lost: bytes = b"0",
) -> tuple[int, bytes]:
    times = (b"%d" % ENDED, b"%d" % (ENDED + KEEP_S)) if ended else (b"0", b"0")
    return (RESULT, b"\0".join((handle, state, *progress, *times, lost, content)))


def test_the_option_is_known(broker: BrokerHarness) -> None:
    [(packet_type, name)] = broker.peer().ask(PacketType.OPTION_REQ, JOB_RESULT_OPTION)
    assert (packet_type, name) == (PacketType.OPTION_RES, JOB_RESULT_OPTION)


def test_the_result_can_be_asked_for_until_its_time_is_over(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    run(broker, handle, result=b"re\0sult")
    client = broker.peer()
    broker.advance(KEEP_S - 1)
    assert ask(client, handle) == [answer(handle, b"complete", b"re\0sult")]
    broker.unix_time += 2
    assert ask(client, handle) == [answer(handle, b"expired", ended=False)]
    broker.advance(1)
    assert ask(client, handle) == [answer(handle, b"expired", ended=False)]
    assert ask(client, b"H:never:1") == [answer(b"H:never:1", b"unknown", ended=False)]
    assert broker.broker.results.kept.by_handle == {}
    assert broker.broker.results.kept.size_bytes == 0


def test_data_of_the_job_comes_before_the_result(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    run(
        broker,
        handle,
        (PacketType.WORK_DATA, b"one"),
        (PacketType.WORK_STATUS, b"3", b"7"),
        (PacketType.WORK_WARNING, b"two"),
    )
    assert ask(broker.peer(), handle) == [
        (PacketType.WORK_DATA, handle + b"\0one"),
        (PacketType.WORK_WARNING, handle + b"\0two"),
        answer(handle, b"complete", b"result", progress=(b"3", b"7")),
    ]


def test_without_a_wait_the_answer_for_an_unfinished_job_comes_at_once(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    client = broker.peer()
    assert ask(client, handle) == [answer(handle, b"waiting", ended=False)]
    run(broker, handle, (PacketType.WORK_STATUS, b"1", b"2"), result=None)
    assert ask(client, handle) == [answer(handle, b"running", ended=False, progress=(b"1", b"2"))]


def test_a_waiting_client_gets_the_workers_data_and_the_result_while_others_are_served(
    keeping: Callable[..., BrokerHarness],
) -> None:
    broker = keeping()
    handle = submit(broker)
    worker = run(broker, handle, (PacketType.WORK_DATA, b"early"), (PacketType.WORK_STATUS, b"1", b"2"), result=None)
    client = broker.peer()
    assert ask(client, handle, b"") == [
        (PacketType.WORK_DATA, handle + b"\0early"),
        (PacketType.WORK_STATUS, handle + b"\x001\x002"),
    ]
    assert client.ask(PacketType.ECHO_REQ, b"x") == [(PacketType.ECHO_RES, b"x")]
    worker.send(PacketType.WORK_WARNING, handle, b"late")
    worker.send(PacketType.WORK_STATUS, handle, b"2", b"2")
    assert client.take() == [
        (PacketType.WORK_WARNING, handle + b"\0late"),
        (PacketType.WORK_STATUS, handle + b"\x002\x002"),
    ]
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [answer(handle, b"complete", b"r", progress=(b"2", b"2"))]


def test_a_wait_ends_at_its_timeout(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    client = broker.peer()
    assert ask(client, handle, b"2500") == []
    broker.advance(2.4)
    assert client.take() == []
    broker.advance(0.2)
    assert client.take() == [answer(handle, b"waiting", ended=False)]
    run(broker, handle)
    assert client.take() == []


def test_a_waiting_client_that_leaves_is_forgotten(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    client, other = broker.peer(), broker.peer()
    ask(client, handle, b"")
    ask(other, handle, b"60000")
    client.leave()
    worker = run(broker, handle, result=None)
    other.leave()
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert worker.take() == []
    assert list(broker.broker.results.waits._by_session) == []


def test_a_connection_can_wait_for_a_limited_number_of_results(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    client = broker.peer()
    for _ in range(MAX_WAITS):
        assert ask(client, handle, b"60000") == []
    [(packet_type, error)] = ask(client, handle, b"60000")
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"TOO_MANY_WAITS")
    run(broker, handle)
    assert client.take() == [answer(handle, b"complete", b"result")] * MAX_WAITS
    assert len(broker.broker.results.waits._deadlines) <= MAX_WAITS // 2


@pytest.mark.parametrize(
    ("packet", "state", "content"),
    [
        ((PacketType.WORK_FAIL,), b"failed", b""),
        ((PacketType.WORK_EXCEPTION, b"boom"), b"exception", b"boom"),
    ],
)
def test_a_failure_is_kept_with_its_reason(
    keeping: Callable[..., BrokerHarness], packet: tuple[bytes | int, ...], state: bytes, content: bytes
) -> None:
    broker = keeping()
    handle = submit(broker)
    client = broker.peer()
    ask(client, handle, b"")
    run(broker, handle, packet, result=None)
    assert client.take() == [answer(handle, state, content)]
    assert ask(client, handle) == [answer(handle, state, content)]


def test_only_the_last_attempt_counts(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping(policy=FunctionPolicy(keep_result_s=KEEP_S, retries=1, backoff_s=0))
    handle = submit(broker)
    run(broker, handle, (PacketType.WORK_DATA, b"first"), (PacketType.WORK_FAIL,), result=None)
    run(broker, handle, (PacketType.WORK_DATA, b"second"))
    assert ask(broker.peer(), handle) == [
        (PacketType.WORK_DATA, handle + b"\0second"),
        answer(handle, b"complete", b"result"),
    ]


def test_a_lost_worker_is_the_reason_when_no_attempt_is_left(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping(policy=FunctionPolicy(keep_result_s=KEEP_S, crash_retries=0))
    handle = submit(broker)
    run(broker, handle, result=None).leave()
    [(_, body)] = ask(broker.peer(), handle)
    assert body.split(b"\0")[1] == b"failed"
    assert b"its worker's connection ended" in body


@pytest.mark.parametrize("is_running", [False, True])
def test_a_cancelled_job_has_failed(keeping: Callable[..., BrokerHarness], is_running: bool) -> None:
    broker = keeping()
    handle = submit(broker)
    worker = run(broker, handle, result=None) if is_running else None
    client = broker.peer()
    ask(client, handle, b"")
    assert broker.peer().text(b"cancel job " + handle) == b"OK\r\n"
    [(_, body)] = client.take()
    assert body.split(b"\0")[1] == b"failed"
    assert b"cancelled" in body
    if worker is not None:
        worker.send(PacketType.WORK_COMPLETE, handle, b"too late")
    assert ask(client, handle) == [(RESULT, body)]


def test_of_foreground_jobs_and_functions_without_the_key_no_result_is_kept(
    keeping: Callable[..., BrokerHarness],
) -> None:
    broker = keeping()
    foreground, client = broker.peer().submit(b"f"), broker.peer()
    other = submit(broker, b"g")
    assert ask(client, foreground, b"") == [answer(foreground, b"not-kept", ended=False)]
    assert ask(client, other, b"") == [answer(other, b"not-kept", ended=False)]
    run(broker, foreground)
    run(broker, other, function=b"g")
    assert broker.broker.results.kept.by_handle == {}
    assert ask(client, other) == [answer(other, b"unknown", ended=False)]


def test_a_waiting_client_is_told_when_results_are_no_longer_kept(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping()
    handle = submit(broker)
    client = broker.peer()
    ask(client, handle, b"")
    broker.broker.use_policies({})
    assert client.take() == [answer(handle, b"not-kept", ended=False)]


def test_data_is_kept_up_to_a_limit_and_the_lost_bytes_are_counted(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping(max_report_bytes=100)
    handle = submit(broker)
    reports = [(PacketType.WORK_DATA, b"x" * 60)] * 3
    run(broker, handle, *reports)
    [(_, data), (_, body)] = ask(broker.peer(), handle)
    assert data == handle + b"\0" + b"x" * 60
    assert body.split(b"\0")[6] == b"%d" % (2 * (12 + len(handle) + 61))


def test_too_many_results_push_out_the_oldest(keeping: Callable[..., BrokerHarness]) -> None:
    broker = keeping(max_count=2)
    handles = [submit(broker) for _ in range(3)]
    for handle in handles:
        run(broker, handle)
    assert list(broker.broker.results.kept.by_handle) == handles[1:]
    assert ask(broker.peer(), handles[0]) == [answer(handles[0], b"expired", ended=False)]


def test_of_expired_results_only_a_limited_number_of_the_latest_is_known(
    keeping: Callable[..., BrokerHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_results, "MAX_EXPIRED", 2)
    broker = keeping(max_count=1)
    handles = [submit(broker) for _ in range(4)]
    for handle in handles:
        run(broker, handle)
    states = [ask(broker.peer(), handle)[0][1].split(b"\0")[1] for handle in handles]
    assert states == [b"unknown", b"expired", b"expired", b"complete"]


def test_the_result_of_a_job_that_is_tried_again_is_kept_for_the_full_time(
    keeping: Callable[..., BrokerHarness],
) -> None:
    broker = keeping()
    handle = submit(broker)
    run(broker, handle, (PacketType.WORK_FAIL,), result=None)
    broker.advance(KEEP_S + 1)
    assert broker.peer().text(b"dead retry " + handle) == b"OK 1\n"
    run(broker, handle, (PacketType.WORK_FAIL,), result=None)
    broker.advance(KEEP_S / 2)
    assert broker.peer().text(b"dead retry " + handle) == b"OK 1\n"
    run(broker, handle)
    broker.advance(KEEP_S / 2 + 1)  # the time of the second failure's result would be over
    [(_, body)] = ask(broker.peer(), handle)
    assert body.split(b"\0")[1] == b"complete"
    broker.advance(KEEP_S / 2)
    assert ask(broker.peer(), handle) == [answer(handle, b"expired", ended=False)]


def test_results_stay_within_their_memory_and_a_huge_one_pushes_out_no_other(
    keeping: Callable[..., BrokerHarness],
) -> None:
    broker = keeping(max_bytes=20_000)
    handles = [submit(broker) for _ in range(8)]
    run(broker, handles[0])
    run(broker, handles[1], result=b"x" * 10_000)
    client = broker.peer()
    assert ask(client, handles[1]) == [answer(handles[1], b"too-large")]
    assert ask(client, handles[0]) == [answer(handles[0], b"complete", b"result")]
    for handle in handles[2:]:
        run(broker, handle, result=b"x" * 4000)
    kept = broker.broker.results.kept
    assert kept.size_bytes <= 20_000
    assert list(kept.by_handle)[-1] == handles[-1]
    assert handles[0] not in kept.by_handle


@pytest.mark.parametrize("body", [b"H:test:1", b"H:test:1\0soon", b"H:test:1\0-1", b"H:test:1\x009999999999999"])
def test_a_malformed_request_ends_the_connection(broker: BrokerHarness, body: bytes) -> None:
    client = broker.peer()
    [(packet_type, error)] = client.ask(GET_RESULT, body)
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert client.session.ending is not None


def test_a_durable_store_keeps_the_result_before_the_row_goes_and_hands_it_back(
    keeping: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    broker = keeping(store=batch_store)
    client = broker.peer()
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    batch_store.start_commit()
    broker.broker._inserts.written(batch_store.write())
    [(_, handle)] = client.take()
    run(broker, handle)
    assert list(batch_store.results) == [handle]
    again = keeping()
    again.broker.results.kept.restore(batch_store.results.values(), again.now)
    assert ask(again.peer(), handle) == [answer(handle, b"complete", b"result")]
    broker.advance(KEEP_S + 1)
    assert batch_store.results == {}
