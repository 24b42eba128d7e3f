"""The native thread: calls run in order, results arrive on the loop's thread, and the end forgets none."""

from __future__ import annotations

import threading
import time
from functools import partial

import gevent
import gevent.event
import pytest

from gearman_server.thread import Delivery, NativeThread

DEADLINE_S = 20.0


@pytest.fixture
def thread() -> NativeThread:
    return NativeThread(gevent.get_hub().loop)


def test_calls_are_carried_out_in_their_order_and_delivered_on_the_loops_thread(thread: NativeThread) -> None:
    seen: list[tuple[int, bool, bool]] = []
    delivered = gevent.event.Event()

    def call(number: int) -> Delivery:
        caller = threading.get_ident()

        def deliver() -> None:
            seen.append((number, caller != threading.get_ident(), thread.is_busy))
            if number == 2:
                delivered.set()

        return deliver

    for number in range(3):
        thread.run(partial(call, number))
    assert thread.is_busy
    assert delivered.wait(DEADLINE_S)
    assert seen == [(0, True, True), (1, True, True), (2, True, False)]
    assert thread.stop(DEADLINE_S)


def test_calls_that_were_handed_over_before_the_end_are_delivered(thread: NativeThread) -> None:
    seen: list[int] = []

    def call(number: int) -> Delivery:
        return partial(seen.append, number)

    for number in range(3):
        thread.run(partial(call, number))
    assert thread.stop(DEADLINE_S)
    assert seen == [0, 1, 2]


def test_a_call_that_takes_too_long_is_abandoned_at_the_end(thread: NativeThread) -> None:
    may_end = threading.Event()

    def call() -> Delivery:
        may_end.wait(DEADLINE_S)
        return lambda: None

    thread.run(call)
    assert not thread.stop(0.05)
    may_end.set()
    assert thread.stop(DEADLINE_S)


def test_a_delivery_that_fails_delays_none_behind_it(thread: NativeThread) -> None:
    delivered, reported = gevent.event.Event(), []

    def fail() -> None:
        raise ValueError("a bug")

    hub = gevent.get_hub()
    report, hub.handle_error = hub.handle_error, lambda *error: reported.append(error)
    try:
        thread.run(lambda: fail)
        thread.run(lambda: delivered.set)
        while len(thread._deliveries) < 2:
            time.sleep(0.001)  # both are reported at once
        assert delivered.wait(DEADLINE_S)
    finally:
        hub.handle_error = report
    assert len(reported) == 1
    assert thread.stop(DEADLINE_S)
