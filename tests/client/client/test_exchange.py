"""Many requests on one connection, without a connection: packets in, calls on the requests out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client import ProtocolError, ServerError
from gearman_client.client.exchange import MAX_EARLY_BYTES, MAX_ENDED_HANDLES, Exchange
from gearman_client.client.request import Request, ResultRequest
from gearman_client.extensions import RESULT
from gearman_client.packet import Packet, PacketType, encode_request

T = PacketType


class Heard(Request):
    """A request that keeps every call as a tuple (name, arguments)."""

    def __init__(self, packet: bytes = b"packet", *, answer: int = T.JOB_CREATED, has_result: bool = True) -> None:
        super().__init__(packet)
        self.answer = answer
        self.has_result = has_result
        self.events: list[tuple[Any, ...]] = []

    def created(self, handle: bytes) -> None:
        self.events.append(("created", handle))

    def answered(self, body: bytes) -> None:
        self.events.append(("answered", body))

    def refused(self, error: ServerError) -> None:
        self.events.append(("refused", error.code, error.text))

    def status(self, numerator: int, denominator: int) -> None:
        self.events.append(("status", numerator, denominator))

    def data(self, data: bytes) -> None:
        self.events.append(("data", data))

    def warning(self, data: bytes) -> None:
        self.events.append(("warning", data))

    def complete(self, result: bytes) -> None:
        self.events.append(("complete", result))

    def fail(self) -> None:
        self.events.append(("fail",))

    def exception(self, data: bytes) -> None:
        self.events.append(("exception", data))


class HeardResult(ResultRequest):
    """The same for a request for a kept result."""

    def __init__(self, handle: bytes) -> None:
        super().__init__(handle, b"")
        self.events: list[tuple[Any, ...]] = []

    def answered(self, body: bytes) -> None:
        self.events.append(("answered", body))

    def refused(self, error: ServerError) -> None:
        self.events.append(("refused", error.code, error.text))

    def status(self, numerator: int, denominator: int) -> None:
        self.events.append(("status", numerator, denominator))

    def data(self, data: bytes) -> None:
        self.events.append(("data", data))


def ask(exchange: Exchange, **options: Any) -> Heard:
    request = Heard(**options)
    exchange.ask(request)
    return request


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def test_each_job_hears_what_concerns_it(exchange: Exchange) -> None:
    first, second = ask(exchange), ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.WORK_STATUS, b"H:1\x003\x0010"), (T.JOB_CREATED, b"H:2")])
    exchange.take([(T.WORK_DATA, b"H:2\0part\0"), (T.WORK_WARNING, b"H:1\0careful"), (T.WORK_COMPLETE, b"H:2\0a\0b")])
    assert not exchange.is_idle
    exchange.take([(T.WORK_EXCEPTION, b"H:1\0boom")])
    assert first.events == [("created", b"H:1"), ("status", 3, 10), ("warning", b"careful"), ("exception", b"boom")]
    assert second.events == [("created", b"H:2"), ("data", b"part\0"), ("complete", b"a\0b")]
    assert exchange.is_idle


def test_answers_come_in_the_order_of_asking_and_an_error_stands_for_one(exchange: Exchange) -> None:
    job = ask(exchange)
    status = ask(exchange, answer=T.STATUS_RES)
    refused = ask(exchange)
    echo = ask(exchange, answer=T.ECHO_RES)
    background = ask(exchange, has_result=False)
    assert exchange.awaiting == 5
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.STATUS_RES, b"H:9\x000"), (T.ERROR, b"QUEUE_ERROR\0Job queue is full")])
    exchange.take([(T.ECHO_RES, b"ping"), (T.JOB_CREATED, b"H:2"), (T.WORK_COMPLETE, b"H:1\0")])
    assert job.events == [("created", b"H:1"), ("complete", b"")]
    assert status.events == [("answered", b"H:9\x000")]
    assert refused.events == [("refused", "QUEUE_ERROR", "Job queue is full")]
    assert echo.events == [("answered", b"ping")]
    assert background.events == [("created", b"H:2")]
    assert exchange.is_idle


@pytest.mark.parametrize("fail", [b"H:1", b"H:1\0"])
def test_a_failure_is_recognised_with_gearmands_zero_byte_too(exchange: Exchange, fail: bytes) -> None:
    job = ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.WORK_FAIL, fail)])
    assert job.events == [("created", b"H:1"), ("fail",)]


def test_a_handle_alone_has_empty_data_and_no_progress(exchange: Exchange) -> None:
    job = ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.WORK_DATA, b"H:1"), (T.WORK_STATUS, b"H:1"), (T.WORK_COMPLETE, b"H:1")])
    assert job.events[1:] == [("data", b""), ("status", 0, 0), ("complete", b"")]


def test_equal_jobs_share_one_handle_and_every_copy_counts_once(exchange: Exchange) -> None:
    first = ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.WORK_DATA, b"H:1\0a")])
    second, third = ask(exchange), ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.JOB_CREATED, b"H:1")])
    # gearmand: a copy for each of the three; the worker has said "b" twice
    exchange.take([(T.WORK_DATA, b"H:1\0b")] * 6 + [(T.WORK_COMPLETE, b"H:1\0c")] * 3)
    both = [("data", b"b"), ("data", b"b"), ("complete", b"c")]
    assert first.events == [("created", b"H:1"), ("data", b"a"), *both]
    assert second.events == third.events == [("created", b"H:1"), *both]
    assert exchange.is_idle


def test_equal_jobs_hear_all_of_a_server_that_sends_one_copy(exchange: Exchange) -> None:
    jobs = [ask(exchange), ask(exchange)]
    exchange.take([(T.JOB_CREATED, b"H:1")] * 2)
    exchange.take([(T.WORK_STATUS, b"H:1\x001\x002"), (T.WORK_STATUS, b"H:1\x002\x002"), (T.WORK_FAIL, b"H:1")])
    for job in jobs:
        assert job.events == [("created", b"H:1"), ("status", 1, 2), ("status", 2, 2), ("fail",)]


def test_late_copies_are_not_taken_for_those_of_a_job_to_come(exchange: Exchange) -> None:
    jobs = [ask(exchange), ask(exchange)]
    later = ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1")] * 2 + [(T.WORK_COMPLETE, b"H:1\0c")] * 2 + [(T.WORK_FAIL, b"H:1")])
    exchange.take([(T.JOB_CREATED, b"H:1")])
    assert [job.events[-1] for job in jobs] == [("complete", b"c")] * 2
    assert later.events == [("created", b"H:1")]


def test_packets_that_come_before_their_job_is_acknowledged_are_kept(exchange: Exchange) -> None:
    first, second = ask(exchange), ask(exchange)
    exchange.take([(T.WORK_DATA, b"H:2\0part"), (T.WORK_COMPLETE, b"H:2\0all"), (T.WORK_DATA, b"H:3\0?")])
    exchange.take([(T.JOB_CREATED, b"H:1"), (T.JOB_CREATED, b"H:2")])
    assert first.events == [("created", b"H:1")]
    assert second.events == [("created", b"H:2"), ("data", b"part"), ("complete", b"all")]
    again = ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:3")])
    assert again.events == [("created", b"H:3")]  # with no submission unanswered nothing was kept


def test_packets_of_strangers_take_bounded_memory(exchange: Exchange) -> None:
    job = ask(exchange)
    part = bytes(1024 * 1024)
    kept = MAX_EARLY_BYTES // len(part) - 1
    for number in range(3 * kept):
        exchange.take([(T.WORK_DATA, b"H:%d\0" % number + part)])
    exchange.take([(T.WORK_COMPLETE, b"H:%d\0done" % (3 * kept - 1)), (T.JOB_CREATED, b"H:%d" % (3 * kept - 1))])
    assert job.events[1:] == [("data", part), ("complete", b"done")]
    failed = MAX_ENDED_HANDLES + 10
    for number in range(failed):
        ask(exchange)
        exchange.take([(T.JOB_CREATED, b"F:%d" % number), (T.WORK_FAIL, b"F:%d" % number)])
    last = ask(exchange)
    exchange.take([(T.WORK_COMPLETE, b"F:%d\0late" % (failed - 1)), (T.WORK_COMPLETE, b"F:0\0early?")])
    exchange.take([(T.JOB_CREATED, b"F:%d" % (failed - 1))])
    assert last.events == [("created", b"F:%d" % (failed - 1))]


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        ((T.JOB_CREATED, b"H:2"), "JOB_CREATED, which answers no request"),
        ((T.ERROR, b"CODE\0text"), "CODE: text"),
        ((T.NOOP, b""), "NOOP"),
        ((T.ECHO_RES, b""), "ECHO_RES"),
        ((RESULT, b"H:1\0complete"), "packet type 1004"),
        ((-T.WORK_FAIL, b"H:1"), "packet type -14"),
        ((5000, b"H:1"), "packet type 5000"),
    ],
)
def test_a_packet_that_answers_nothing_breaks_the_protocol(exchange: Exchange, packet: Packet, text: str) -> None:
    ask(exchange)
    exchange.take([(T.JOB_CREATED, b"H:1")])
    with pytest.raises(ProtocolError, match=text):
        exchange.take([packet])


def test_the_answer_to_another_question_breaks_the_protocol(exchange: Exchange) -> None:
    question = ask(exchange, answer=T.STATUS_RES)
    job = ask(exchange)
    with pytest.raises(ProtocolError, match="JOB_CREATED, but a request waits for STATUS_RES"):
        exchange.take([(T.JOB_CREATED, b"H:1")])
    with pytest.raises(ProtocolError, match="ECHO_RES, but a request waits for STATUS_RES"):
        exchange.take([(T.ECHO_RES, b"")])
    assert exchange.lose().unacknowledged == [question, job]


def test_kept_results_are_told_by_their_handles_in_any_order(exchange: Exchange) -> None:
    first, second, again = HeardResult(b"H:1"), HeardResult(b"H:2"), HeardResult(b"H:1")
    for request in (first, second, again):
        exchange.ask(request)
    echo = ask(exchange, answer=T.ECHO_RES)
    assert exchange.awaiting == 1
    exchange.take(
        [(T.WORK_DATA, b"H:1\0part"), (T.ECHO_RES, b""), (RESULT, b"H:2\0complete"), (RESULT, b"H:1\0failed")]
    )
    assert echo.events == [("answered", b"")]
    assert first.events == [("data", b"part"), ("answered", b"H:1\0failed")]
    assert second.events == [("answered", b"H:2\0complete")]
    exchange.take([(T.ERROR, b"TOO_MANY_WAITS\0")])
    assert again.events == [("data", b"part"), ("refused", "TOO_MANY_WAITS", "")]
    assert exchange.is_idle


def test_a_lost_connection_tells_what_is_known_of_each_request(exchange: Exchange) -> None:
    packets = [encode_request(T.SUBMIT_JOB, b"f", b"", bytes(size)) for size in (10, 20, 30, 40)]
    jobs = [ask(exchange, packet=packet) for packet in packets]
    equal = ask(exchange, packet=packets[0])
    waiting = HeardResult(b"H:7")
    exchange.ask(waiting)
    exchange.take([(T.JOB_CREATED, b"H:1")])
    losses = exchange.lose(len(waiting.packet) + len(packets[0]) + 1)
    assert losses.created == [jobs[0]]
    assert losses.unacknowledged == [jobs[1], jobs[2]]
    assert losses.unsent == [jobs[3], equal]  # of one of them a part was sent
    assert losses.asked == [waiting]
    assert exchange.is_idle


def test_a_lost_connection_returns_each_of_the_jobs_that_share_a_handle(exchange: Exchange) -> None:
    jobs = [ask(exchange), ask(exchange)]
    exchange.take([(T.JOB_CREATED, b"H:1")] * 2)
    assert exchange.lose().created == jobs


@given(st.data())
def test_any_legal_order_of_packets_reaches_the_right_requests(data: st.DataObject) -> None:
    """Jobs and questions are asked, answered, reported on and ended in any order that the protocol allows."""
    exchange = Exchange()
    requests: list[Heard] = []
    expected: list[list[tuple[Any, ...]]] = []
    answered, running = 0, set[int]()
    for step in data.draw(st.lists(st.sampled_from(["ask", "question", "answer", "refuse", "report", "end"]))):
        if step in ("ask", "question"):
            answer = T.JOB_CREATED if step == "ask" else T.ECHO_RES
            requests.append(ask(exchange, answer=answer))
            expected.append([])
        elif step in ("answer", "refuse") and answered < len(requests):
            number, answered = answered, answered + 1
            if step == "refuse":
                exchange.take([(T.ERROR, b"E\0%d" % number)])
                expected[number].append(("refused", "E", str(number)))
            elif requests[number].answer == T.ECHO_RES:
                exchange.take([(T.ECHO_RES, b"%d" % number)])
                expected[number].append(("answered", b"%d" % number))
            else:
                exchange.take([(T.JOB_CREATED, b"H:%d" % number)])
                expected[number].append(("created", b"H:%d" % number))
                running.add(number)
        elif step in ("report", "end") and running:
            number = data.draw(st.sampled_from(sorted(running)))
            handle, text = b"H:%d" % number, data.draw(st.binary(max_size=4))
            if step == "report":
                exchange.take([(T.WORK_WARNING, handle + b"\0" + text)])
                expected[number].append(("warning", text))
            else:
                exchange.take([(T.WORK_COMPLETE, handle + b"\0" + text)])
                expected[number].append(("complete", text))
                running.discard(number)
    assert [request.events for request in requests] == expected
    losses = exchange.lose()
    assert losses.unacknowledged == requests[answered:]
    assert losses.created == [requests[number] for number in sorted(running)]


@given(st.lists(st.tuples(st.integers(-50, 50) | st.sampled_from([RESULT]), st.binary(max_size=12)), max_size=30))
def test_no_packet_of_a_hostile_server_raises_anything_but_a_protocol_error(packets: list[Packet]) -> None:
    exchange = Exchange()
    for _ in range(5):
        ask(exchange)
        ask(exchange, answer=T.STATUS_RES)
        exchange.ask(HeardResult(b"H"))
    for packet in packets:
        try:
            exchange.take([packet])
        except ProtocolError:
            break
    exchange.lose(10**6)
    assert exchange.is_idle
