"""Long work in turns."""

from __future__ import annotations

import time

import gevent

from gearman_manager.control.turns import TURN_S, Turns


def busy(for_s: float) -> None:
    until = time.thread_time() + for_s
    while time.thread_time() < until:
        pass


def test_others_run_between_long_turns_and_their_time_is_not_counted() -> None:
    order = []

    def other() -> None:
        order.append("other")
        busy(10 * TURN_S)

    greenlet = gevent.spawn(other)
    turns = Turns()
    turns.others()  # it has only begun
    order.append("first")
    busy(2 * TURN_S)
    turns.others()
    order.append("second")
    assert order == ["first", "other", "second"]
    assert 2 * TURN_S <= turns.spent_s < 10 * TURN_S
    greenlet.join()
