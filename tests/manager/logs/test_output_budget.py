"""The output of a child that may be logged in a second, and the report on the rest."""

from __future__ import annotations

from gearman_manager.logs.output_budget import LINE_OVERHEAD_BYTES, OutputBudget


def test_each_second_has_room_for_the_same_number_of_bytes() -> None:
    budget = OutputBudget(bytes_per_s=10 * (20 + LINE_OVERHEAD_BYTES))
    for second in (5.0, 6.0):
        budget.begin(second)
        assert [budget.take(20) for _ in range(12)] == [True] * 10 + [False] * 2
        budget.begin(second + 0.9)
        assert budget.is_spent
    assert budget.account() == ""


def test_the_last_line_of_a_second_may_exceed_the_budget() -> None:
    budget = OutputBudget(bytes_per_s=100)
    budget.begin(1.0)
    assert budget.take(10_000)
    assert not budget.take(1)
    budget.begin(2.0)
    assert budget.take(1)


def test_dropped_output_is_reported_once() -> None:
    budget = OutputBudget(bytes_per_s=0)
    assert budget.drop(1, 7)
    assert not budget.drop(2, 100)
    assert "3 lines (107 bytes) of its output were dropped: more than 0 bytes a second" in budget.account()
    assert budget.account() == ""
    assert budget.drop(1, 1)
