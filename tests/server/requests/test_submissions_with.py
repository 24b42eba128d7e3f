"""SUBMIT_JOB_WITH: what the options of a job do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import JOB_ASSIGN_ATTEMPT, JOB_ASSIGN_WITH, JOBS_ASSIGNED, SUBMIT_JOB_WITH
from gearman_client.packet import PacketType
from gearman_server.jobs.events import Event, JobExpired

from ..broker_harness import UNIX_TIME, BrokerHarness, DurableBroker, Peer, lines_run
from .replayed import Replayed, stored

CREATED, FAIL, EXCEPTION = PacketType.JOB_CREATED, PacketType.WORK_FAIL, PacketType.WORK_EXCEPTION


def submit(peer: Peer, *pairs: bytes, workload: bytes = b"w", unique: bytes = b"") -> bytes:
    """Submit a background job of `f` with these options; its handle."""
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, b"f", unique, b"background=1", *pairs, b"", workload)
    assert packet_type == CREATED, body
    return body


def refusal(peer: Peer, *pairs: bytes) -> bytes:
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, b"f", b"", *pairs, b"", b"w")
    assert packet_type == PacketType.ERROR
    return body


def our_worker(broker: BrokerHarness) -> Peer:
    worker = broker.worker(b"f")
    for option in (b"job-attempt", b"job-options"):
        assert worker.ask(PacketType.OPTION_REQ, option) == [(PacketType.OPTION_RES, option)]
    return worker


def test_a_job_without_any_option_is_a_plain_foreground_job(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    assert client.ask(SUBMIT_JOB_WITH, b"f", b"", b"", b"a\0b") == [(CREATED, b"H:test:1")]
    assert worker.ask(PacketType.GRAB_JOB) == [(PacketType.JOB_ASSIGN, b"H:test:1\0f\0a\0b")]
    worker.send(PacketType.WORK_COMPLETE, b"H:test:1", b"done")
    assert client.take() == [(PacketType.WORK_COMPLETE, b"H:test:1\0done")]


def test_pairs_without_an_end_break_the_protocol(broker: BrokerHarness) -> None:
    client = broker.peer()
    [(packet_type, body)] = client.ask(SUBMIT_JOB_WITH, b"f", b"", b"retries=1", b"w")
    assert packet_type == PacketType.ERROR
    assert body.startswith(b"INVALID_PACKET\0SUBMIT_JOB_WITH takes")


def test_a_wrong_option_is_refused_and_nothing_is_queued(broker: BrokerHarness) -> None:
    client = broker.peer()
    assert refusal(client, b"colour=1").startswith(b"INVALID_OPTION\0unknown option colour. Known: at,")
    assert refusal(client, b"expires=1").startswith(b"INVALID_OPTION\0expires: that is over")
    assert refusal(client, b"delay=5000", b"expires_in=5000").startswith(b"INVALID_OPTION\0expires: that is over")
    refused = b"INVALID_OPTION\0tag: only jobs of schedules have one that begins with schedule:"
    assert refusal(client, b"timeout=5", b"tag=schedule:tick") == refused
    assert refusal(client, b"tag=a", b"tag=schedule:", b"header:a=1") == refused
    assert broker.status(b"f") == (0, 0, 0)
    submit(client, b"tag=schedules", b"header:tag=schedule:tick")


def test_a_worker_that_asked_is_told_of_the_options_and_others_get_plain_packets(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    pairs = b"timeout=500", b"tag=mail", b"key=k", b"header:traceparent=00", b"retries=2"
    handle = submit(client, *pairs, workload=b"a\0\0b")
    told = b"timeout=500\0tag=mail\0key=k\0header:traceparent=00"
    expected = b"%s\0f\0\x001\0%s\0\0a\0\0b" % (handle, told)
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_WITH, expected)]
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    other = submit(client, b"retries=2")
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_ATTEMPT, b"%s\0f\0\x001\0w" % other)]
    worker.send(PacketType.WORK_COMPLETE, other, b"")
    third = submit(client, b"tag=mail")
    foreign = broker.worker(b"f")
    assert foreign.ask(PacketType.GRAB_JOB_UNIQ) == [(PacketType.JOB_ASSIGN_UNIQ, b"%s\0f\0\0w" % third)]


def test_options_come_with_the_jobs_of_a_set(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    worker.ask(PacketType.OPTION_REQ, b"grab-many")
    first, second = submit(client, b"tag=a"), submit(client)
    packets = worker.ask(1007, b"5")
    assert [packet_type for packet_type, _ in packets] == [JOBS_ASSIGNED, JOB_ASSIGN_WITH, JOB_ASSIGN_ATTEMPT]
    assert packets[1][1] == first + b"\0f\0\x001\0tag=a\0\0w"
    assert packets[2][1] == second + b"\0f\0\x001\0w"


def test_priorities_and_a_delay_to_the_millisecond_in_each(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    low, high = submit(client, b"priority=0"), submit(client, b"priority=9")
    delayed = submit(client, b"priority=9", b"delay=1250")
    at = submit(client, b"priority=0", b"at=%d" % (UNIX_TIME * 1000 + 1251))
    assert [worker.grab(), worker.grab(), worker.grab()] == [high, low, None]
    broker.advance(1.249)
    assert worker.grab() is None
    broker.advance(0.001)
    assert [worker.grab(), worker.grab()] == [delayed, None]
    broker.advance(0.001)
    assert worker.grab() == at


def test_own_retries_and_backoff_win_over_the_policy(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=0, backoff_s=10.0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = submit(client, b"retries=1", b"backoff=500")
    worker.grab()
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.grab() is None
    broker.advance(0.5)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    assert broker.status(b"f") == (0, 0, 1)


@pytest.mark.parametrize(("own_ms", "ends_after_s"), [(1000, 3.0), (0, None), (60_000, 62.0)])
def test_own_timeout_wins_over_the_policy(
    broker_with: Callable[..., BrokerHarness], own_ms: int, ends_after_s: float | None
) -> None:
    broker = broker_with(timeout_s=10.0)
    client, worker = broker.peer(), broker.worker(b"f")
    submit(client, b"timeout=%d" % own_ms)
    worker.grab_handle()
    if ends_after_s is not None:
        broker.advance(ends_after_s - 0.001)
        assert broker.status(b"f") == (1, 1, 1)
        broker.advance(0.001)
        assert broker.status(b"f") == (0, 0, 1)
    else:
        broker.advance(1000)
        assert broker.status(b"f") == (1, 1, 1)


def test_own_keep_result_wins_over_the_policy(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with()
    client, worker = broker.peer(), broker.worker(b"f")
    kept, plain = submit(client, b"keep_result=60000"), submit(client)
    for _ in range(2):
        worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"done")
    [(_, body)] = client.ask(1003, kept, b"0")
    assert body.startswith(kept + b"\0complete\0")
    assert client.ask(1003, plain, b"0")[0][1].startswith(plain + b"\0unknown\0")
    broker.advance(61)
    assert client.ask(1003, kept, b"0")[0][1].startswith(kept + b"\0expired\0")


def test_options_that_the_function_does_not_allow_are_refused(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(allow_options=frozenset({"timeout", "retries"}))
    client = broker.peer()
    assert refusal(client, b"timeout=5", b"tag=a", b"delay=1") == (
        b"INVALID_OPTION\0delay, tags: the function does not allow it. It allows: retries, timeout"
    )
    submit(client, b"timeout=5")


def test_the_headers_of_traces_count_for_no_option(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(allow_options=frozenset[str]())
    client, worker = broker.peer(), our_worker(broker)
    traced = b"header:traceparent=00-ab", b"header:tracestate=vendor=x"
    assert refusal(client, *traced, b"header:lang=de") == (
        b"INVALID_OPTION\0headers: the function does not allow it. It allows: none"
    )
    handle = submit(client, *traced)
    expected = b"%s\0f\0\x001\0%s\0\0w" % (handle, b"\0".join(traced))
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_WITH, expected)]


class TestExpiry:
    def test_a_waiting_job_ends_as_expired(self, broker: BrokerHarness) -> None:
        events: list[Event] = []
        broker.broker.events.subscribe(events.append, JobExpired)
        client, worker = broker.peer(), broker.worker(b"f")
        client.send(PacketType.OPTION_REQ, b"exceptions")
        client.take()
        [(_, handle)] = client.ask(SUBMIT_JOB_WITH, b"f", b"", b"expires_in=1000", b"", b"w")
        broker.advance(0.999)
        assert client.take() == []
        broker.advance(0.001)
        assert client.take() == [(EXCEPTION, handle + b"\0expired: it was not begun in time")]
        assert worker.grab() is None
        assert events == [JobExpired(handle, b"f", 1)]
        assert broker.status(b"f") == (0, 0, 1)

    def test_an_attempt_that_runs_goes_on_but_no_other_follows(self, broker_with: Callable[..., BrokerHarness]) -> None:
        broker = broker_with(retries=5, backoff_s=0.0)
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"expires_in=1000", b"expired_letter=1")
        worker.grab()
        broker.advance(5)
        worker.send(PacketType.WORK_FAIL, handle)
        assert worker.grab() is None
        [letter] = client.text(b"dead list").splitlines()[:-1]
        assert letter.startswith(handle)
        assert b"expired: it was not begun in time" in letter

    def test_a_job_that_waits_for_its_retry_expires(self, broker_with: Callable[..., BrokerHarness]) -> None:
        broker = broker_with(retries=5, backoff_s=100.0)
        client, worker = broker.peer(), broker.worker(b"f")
        handle = submit(client, b"expires_in=10000")
        worker.grab()
        worker.send(PacketType.WORK_FAIL, handle)
        broker.advance(10)
        assert broker.status(b"f") == (0, 0, 1)
        assert client.text(b"dead list") == b".\n"

    def test_a_job_whose_worker_is_lost_after_its_time(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        submit(client, b"expires_in=1000")
        worker.grab()
        broker.advance(2)
        worker.leave()
        assert broker.status(b"f") == (0, 0, 0)

    def test_a_letter_of_an_expired_job_is_revived_without_expiring_again(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), our_worker(broker)
        handle = submit(client, b"expires_in=1000", b"expired_letter=1", b"tag=a")
        broker.advance(1)
        assert client.text(b"dead retry " + handle) == b"OK 1\n"
        broker.advance(100)
        assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_WITH, handle + b"\0f\0\x001\0tag=a\0\0w")]

    def test_ended_jobs_leave_nothing_in_the_timer(self, broker: BrokerHarness) -> None:
        client, worker = broker.peer(), broker.worker(b"f")
        for _ in range(3000):
            submit(client, b"expires_in=100000000")
            worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
        assert len(broker.broker._attempts.expiry._timer._expiring) <= 1025


def test_stored_options_come_back(
    make_broker: Callable[..., BrokerHarness], batch_store: object, durable: DurableBroker
) -> None:
    replayed = Replayed(make_broker, durable.store)
    broker = replayed.harness
    expires = b"expires=%d" % (UNIX_TIME * 1000 + 5000)
    replayed.load(stored(1, options=b"tag=a\0timeout=7000\0" + expires), stored(2, options=b"tag=b\0priority=5"))
    worker = our_worker(broker)
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [
        (JOB_ASSIGN_WITH, b"H:old:1\0f\0\x001\0tag=a\0timeout=7000\0\0old 1"),
    ]
    assert replayed.load(stored(3, options=b"weight=1")) != []
    assert replayed.load(stored(4, options=expires)) == []
    broker.advance(5)
    assert broker.status(b"f")[0] == 2


def test_known_options_are_not_read_again(broker: BrokerHarness) -> None:
    client = broker.peer()

    def lines(*pairs: bytes) -> int:
        return lines_run(lambda: submit(client, *pairs))

    plain = lines_run(lambda: client.submit(b"f", kind="SUBMIT_JOB_BG"))
    assert lines(b"retries=2", b"tag=mail") > lines(b"retries=2", b"tag=mail")
    assert lines(b"retries=2", b"header:traceparent=1") > lines(b"retries=2", b"header:traceparent=2")
    assert lines(b"retries=2", b"header:traceparent=3") < plain + 20
    assert lines(b"retries=2", b"tag=mail") < plain + 12


@pytest.fixture
def knowing(broker: BrokerHarness) -> Peer:
    """A client whose server has read some options before."""
    client, worker = broker.peer(), broker.worker(b"f")
    for pair in (b"tag=t", b"header:a=1", b"key=k"):
        submit(client, b"retries=2", pair)
        worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    return client


@pytest.mark.parametrize("unique", [b"", b"u"])
@pytest.mark.parametrize("own", [b"header:a=b=c", b"header:a=", b"header:b=2", b"key=k2", b"key=k\0header:a=3"])
def test_the_value_of_the_last_option_is_the_jobs_own(
    broker: BrokerHarness, knowing: Peer, own: bytes, unique: bytes
) -> None:
    worker = our_worker(broker)
    for _ in range(2):  # the first time it may be read, then it is known
        handle = submit(knowing, b"retries=2", own, workload=b"a\0\0b", unique=unique)
        [(_, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
        assert body == b"%s\0f\0%s\x001\0%s\0\0a\0\0b" % (handle, unique, own)
        worker.send(PacketType.WORK_COMPLETE, handle, b"")


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ((b"retries=2", b"key="), b"INVALID_OPTION"),
        ((b"retries=2", b"key=" + b"k" * 257), b"INVALID_OPTION"),
        ((b"retries=2", b"header:=1"), b"INVALID_OPTION"),
        ((b"key=k", b"key=k"), b"INVALID_OPTION"),
        ((b"retries=2", b"colour=red"), b"INVALID_OPTION"),
        ((b"retries=2", b"tag"), b"INVALID_OPTION"),
    ],
)
def test_what_only_looks_like_known_options_is_refused(knowing: Peer, pairs: tuple[bytes, ...], code: bytes) -> None:
    assert refusal(knowing, b"background=1", *pairs).startswith(code)


@pytest.mark.parametrize("start", [b"f\0\0", b"f\0u\0"])
@pytest.mark.parametrize("pair", [b"tag=t", b"header:a=1"])
def test_known_options_without_an_end_break_the_protocol(
    broker: BrokerHarness, knowing: Peer, start: bytes, pair: bytes
) -> None:
    [(packet_type, body)] = knowing.ask(SUBMIT_JOB_WITH, start + b"background=1\0retries=2\0" + pair)
    assert (packet_type, body[:14]) == (PacketType.ERROR, b"INVALID_PACKET")


def test_a_workload_is_not_taken_for_known_options(broker: BrokerHarness, knowing: Peer) -> None:
    worker = our_worker(broker)
    workload = b"background=1\0retries=2\0tag=t\0\0header:a=1\0\0w"
    knowing.ask(SUBMIT_JOB_WITH, b"f", b"", b"", workload)
    assert worker.ask(PacketType.GRAB_JOB_UNIQ)[0][1].endswith(b"\0f\0\x001\0" + workload)


def test_jobs_with_equal_options_share_them_until_one_has_more(broker: BrokerHarness) -> None:
    client, worker, jobs = broker.peer(), broker.worker(b"f"), broker.broker.table.jobs
    first, second = submit(client, b"timeout=9000", b"tag=a"), submit(client, b"timeout=9000", b"tag=a")
    assert jobs[first].extras is jobs[second].extras is not None
    assert worker.grab() == first
    worker.send(PacketType.WORK_STATUS, first, b"1", b"2")
    assert (jobs[first].rare.progress, jobs[second].rare.progress) == ((b"1", b"2"), None)
    assert (jobs[first].timeout_s, jobs[second].timeout_s) == (9.0, 9.0)
    assert jobs[second].rare.deadline is None
