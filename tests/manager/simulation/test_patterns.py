"""Times of the week that were late again and again: found where they are, and not found where only chance is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_manager.simulation.patterns import SLOTS, Bin, Goal, Pattern, Span, bins, find_patterns, slot_start

GOAL = Goal(2.0)
MONDAY = date(2026, 3, 2)


def at(clock: str) -> int:
    hour, minute = clock.split(":")
    return (int(hour) * 60 + int(minute)) // 5


def weeks(number: float) -> Span:
    return Span(MONDAY, 0, MONDAY + timedelta(days=round(7 * number) - 1), SLOTS - 1)


def load(covered: Span, is_late: Callable[[date, int], bool]) -> list[Bin]:
    """Ten jobs in each slot."""
    return [
        Bin(day, slot, 10, 10 if is_late(day, slot) else 0)
        for day, start, end in covered.parts()
        for slot in range(start, end)
    ]


def found(covered: Span, is_late: Callable[[date, int], bool]) -> list[tuple[list[int], int, int]]:
    patterns = find_patterns(load(covered, is_late), covered, GOAL)
    return sorted((sorted(one.weekdays), one.start, one.end) for one in patterns)


def planted(weekdays: Iterable[int], start: str, end: str) -> Callable[[date, int], bool]:
    days = set(weekdays)
    return lambda day, slot: day.weekday() in days and at(start) <= slot < at(end)


@pytest.mark.parametrize(
    ("number", "weekdays", "groups"),
    [
        (4, [0], [[0]]),
        (2, [0], [[0]]),
        (4, [0, 1, 2, 3, 4], [[0, 1, 2, 3, 4]]),
        (1, [0, 1, 2, 3, 4], [[0, 1, 2, 3, 4]]),
        (4, [5, 6], [[5, 6]]),
        (1, range(7), [[0, 1, 2, 3, 4, 5, 6]]),
        (4, [1, 3], [[1], [3]]),
    ],
)
def test_a_time_that_was_late_on_the_same_days_is_found(
    number: int, weekdays: Iterable[int], groups: list[list[int]]
) -> None:
    expected = [(group, at("07:50"), at("09:30")) for group in groups]
    assert found(weeks(number), planted(weekdays, "07:50", "09:30")) == expected


def test_once_is_no_pattern() -> None:
    assert found(weeks(1), planted([0], "07:50", "09:30")) == []
    assert found(weeks(4), lambda day, slot: day == MONDAY and slot > 200) == []


def test_most_days_must_be_late() -> None:
    def on(late_weeks: set[int]) -> list[tuple[list[int], int, int]]:
        return found(
            weeks(5),
            lambda day, slot: planted([0], "08:00", "08:30")(day, slot) and (day - MONDAY).days // 7 in late_weeks,
        )

    assert on({0, 1}) == []
    assert on({0, 2, 4}) == [([0], at("08:00"), at("08:30"))]


def test_people_are_not_punctual_to_five_minutes() -> None:
    shifts = [0, 1, 0, 1, -1]

    def is_late(day: date, slot: int) -> bool:
        return day.weekday() == 0 and slot == at("08:00") + shifts[(day - MONDAY).days // 7]

    assert found(weeks(5), is_late) == [([0], at("08:00"), at("08:10"))]


def test_late_times_with_short_pauses_are_one() -> None:
    def is_late(day: date, slot: int) -> bool:
        return day.weekday() == 2 and at("10:00") <= slot < at("12:00") and slot % 4 == 0

    assert found(weeks(4), is_late) == [([2], at("10:00"), at("11:45"))]


def test_several_patterns_do_not_hide_each_other() -> None:
    both = [planted([0], "07:50", "09:30"), planted([4], "16:00", "17:00")]
    expected = [([0], at("07:50"), at("09:30")), ([4], at("16:00"), at("17:00"))]
    assert found(weeks(4), lambda day, slot: any(one(day, slot) for one in both)) == expected


def test_a_longer_time_of_one_day_is_found_beside_that_of_all_workdays() -> None:
    both = [planted(range(5), "08:00", "08:30"), planted([0], "07:00", "10:00")]
    expected = [([0], at("07:00"), at("10:00")), ([0, 1, 2, 3, 4], at("08:00"), at("08:30"))]
    assert found(weeks(4), lambda day, slot: any(one(day, slot) for one in both)) == expected


def test_a_day_that_is_there_in_part_does_not_count_for_the_rest() -> None:
    """Three Mondays, but of the last one only the morning."""
    covered = Span(MONDAY, 0, MONDAY + timedelta(days=14), at("06:00"))
    (pattern,) = find_patterns(load(covered, planted([0], "07:50", "09:30")), covered, GOAL)
    assert (pattern.late_days, pattern.days, pattern.is_thin) == (2, 2, True)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0005, 0.005, 0.05, 0.3, 0.7]), st.sampled_from([1, 2, 3, 4, 8]))
def test_white_noise_is_no_pattern(seed: int, probability: float, number: int) -> None:
    numbers = random.Random(seed)
    assert found(weeks(number), lambda _day, _slot: numbers.random() < probability) == []


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, SLOTS - 30), st.integers(4, 24), st.integers(3, 6))
def test_a_planted_time_is_found_in_noise(seed: int, weekday: int, start: int, length: int, number: int) -> None:
    numbers = random.Random(seed)

    def is_late(day: date, slot: int) -> bool:
        return numbers.random() < (0.95 if day.weekday() == weekday and 0 <= slot - start < length else 0.004)

    patterns = find_patterns(load(weeks(number), is_late), weeks(number), GOAL)
    (pattern,) = [one for one in patterns if weekday in one.weekdays]
    assert pattern.weekdays == {weekday}
    assert abs(pattern.start - start) <= 4
    assert abs(pattern.end - start - length) <= 4


# --- bins


@pytest.mark.parametrize(
    ("share", "jobs", "late", "is_missed"),
    [(0.95, 20, 1, False), (0.95, 20, 2, True), (0.95, 19, 1, True), (0.95, 1, 0, False), (0.99, 100, 1, False)],
)
def test_the_goal_is_missed_if_the_percentile_is_late(share: float, jobs: int, late: int, is_missed: bool) -> None:
    assert Goal(2.0, share).is_missed(jobs, late) is is_missed


def test_jobs_are_counted_by_five_minutes_of_the_local_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, 0, 58, tzinfo=UTC).timestamp()  # at 01:00 the clocks jump from two to three
    arrivals = [start, start + 60, start + 121, start + 421]
    assert list(bins(arrivals, [0.0, 3.0, 2.0, 2.1], GOAL, zone)) == [
        Bin(date(2026, 3, 29), at("01:55"), 2, 1),
        Bin(date(2026, 3, 29), at("03:00"), 1, 0),
        Bin(date(2026, 3, 29), at("03:05"), 1, 1),
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "UTC"])
def test_a_slot_begins_at_its_time_of_the_local_clock(zone: str) -> None:
    for slot in (0, 1, 100, SLOTS):
        moment = datetime.fromtimestamp(slot_start(date(2026, 3, 28), slot, ZoneInfo(zone)), ZoneInfo(zone))
        assert (moment.hour * 60 + moment.minute) // 5 + (moment.day - 28) * SLOTS == slot


def test_a_pattern_with_two_days_is_thin() -> None:
    assert Pattern(frozenset((0,)), 1, 2, 2, 2, 0.0).is_thin
    assert not Pattern(frozenset(range(5)), 1, 2, 5, 5, 0.0).is_thin
