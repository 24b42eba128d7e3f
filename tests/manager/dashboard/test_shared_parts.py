"""Parts of pages that several readers share."""

from __future__ import annotations

import time

import gevent

from gearman_manager.dashboard import shared_parts
from gearman_manager.dashboard.shared_parts import SharedParts


def test_a_part_is_made_once_for_all_who_ask_at_the_same_time() -> None:
    parts, made = SharedParts(), []

    def make() -> str:
        made.append(time.thread_time())
        while time.thread_time() < made[-1] + 0.02:  # the part lasts for some seconds then
            pass
        return str(len(made))

    first = parts.get("viewer", make)
    assert [parts.get("viewer", make).text for _ in range(3)] == ["1"] * 3
    assert 2.0 <= first.lasts_s <= shared_parts.LONGEST_S
    assert parts.get("admin", make).text == "2"
    assert len(made) == 2


def test_a_part_that_costs_little_is_made_again_soon() -> None:
    parts = SharedParts()
    first = parts.get("viewer", lambda: "a")
    assert first.lasts_s == shared_parts.SHORTEST_S
    while time.monotonic() < first.until:
        time.sleep(first.until - time.monotonic())
    assert parts.get("viewer", lambda: "b").text == "b"


def test_those_who_ask_while_a_part_is_made_wait_for_it() -> None:
    parts, made = SharedParts(), []

    def make() -> str:
        made.append(0)
        gevent.sleep(0)  # as the overview does, which is made in turns
        return str(len(made))

    asking = [gevent.spawn(parts.get, "viewer", make) for _ in range(5)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    assert [each.value.text for each in asking] == ["1"] * 5


def test_no_more_than_a_few_are_kept() -> None:
    parts = SharedParts()
    for key in range(100):
        parts.get(key, lambda: "x")
    assert len(parts._parts) <= 16
