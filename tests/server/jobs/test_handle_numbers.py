"""Handles have the same text as if each number were written out by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_server.errors import RefusedError
from gearman_server.jobs.job_table import Handles
from gearman_server.jobs.store import MemoryStore

#: How many numbers a store gives at once.
PORTIONS = st.lists(st.integers(1, 1000), min_size=1, max_size=4)
FIRST = st.one_of(
    st.integers(0, 3000), st.integers(10**18 - 1500, 10**18 + 1500), st.integers(2**63 - 9000, 2**63 - 5000)
)


def taker(first: int, portions: list[int]) -> Callable[[int], range]:
    left = iter(portions)
    number = first

    def take(at_most: int) -> range:
        nonlocal number
        taken = range(number, number + min(next(left), at_most))
        number = taken.stop
        return taken

    return take


@given(FIRST, PORTIONS)
def test_each_handle_is_the_prefix_and_the_next_number(first: int, portions: list[int]) -> None:
    handles = Handles(taker(first, portions), b"H:a%b")
    numbers = range(first, first + sum(portions))
    assert [handles.new() for _ in numbers] == [b"H:a%%b:%d" % number for number in numbers]


def test_a_store_that_gave_no_numbers_may_give_some_later() -> None:
    answers: list[range | None] = [range(5, 6), None, range(7, 9)]

    def take(_at_most: int) -> range:
        numbers = answers.pop(0)
        if numbers is None:
            raise RefusedError(b"QUEUE_ERROR", b"none")
        return numbers

    handles = Handles(take, b"H")
    assert handles.new() == b"H:5"
    with pytest.raises(RefusedError):
        handles.new()
    assert [handles.new(), handles.new()] == [b"H:7", b"H:8"]


def test_a_server_without_a_store_counts_on() -> None:
    handles = Handles(MemoryStore(first=998).take_numbers, b"H")
    assert [handles.new() for _ in range(2000)] == [b"H:%d" % number for number in range(998, 2998)]
