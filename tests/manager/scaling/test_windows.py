"""Windows: when they open and close, across changes of the clocks too, and the bounds that they give a pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_manager.config import Defaults, Pool, ResolvedPool, ResolvedWindow
from gearman_manager.config.resolve import resolve_pool
from gearman_manager.scaling.windows import Timetable, bounds_at, bounds_between, in_force, next_start, opening

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
HOUR_S, DAY_S = 3600.0, 86400.0
POOL = resolve_pool("mail", Pool.model_validate({"min": 2, "max": 30}), Defaults(), (), 1)


def window(
    cron: str, hours: float, zone: str = "UTC", minimum: int | None = None, maximum: int | None = None
) -> ResolvedWindow:
    return ResolvedWindow(cron, zone, hours * HOUR_S, minimum, maximum)


def pool(*windows: ResolvedWindow) -> ResolvedPool:
    return replace(POOL, windows=windows)


def at(text: str, zone: str = "UTC") -> float:
    """The Unix time of a clock time; one with an offset needs no zone."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def openings(one: ResolvedWindow, since: str, count: int) -> list[tuple[str, str]]:
    """When the window next opens and closes, as its zone's clocks show it, with their offsets from UTC."""
    zone, now, found = ZoneInfo(one.time_zone), at(since, one.time_zone), []
    for _ in range(count):
        now = next_start(one, now)
        opened = opening(one, now)
        assert opened is not None
        assert opened.until is not None
        assert opening(one, now - 1) is None
        assert opening(one, opened.until) is None
        opens, closes = (f"{datetime.fromtimestamp(moment, zone):%d %H:%M %z}" for moment in (now, opened.until))
        found.append((opens, closes))
        now = opened.until
    return found


@pytest.mark.parametrize(
    ("zone", "since", "cron", "hours", "expected"),
    [
        # Berlin in spring: 02:00 becomes 03:00.
        (BERLIN, "2026-03-28", "0 8 * * *", 2,
         [("28 08:00 +0100", "28 10:00 +0100"), ("29 08:00 +0200", "29 10:00 +0200")]),
        (BERLIN, "2026-03-29", "30 2 * * *", 1, [("29 03:00 +0200", "29 04:00 +0200")]),
        (BERLIN, "2026-03-29", "59 1 * * *", 1, [("29 01:59 +0100", "29 03:59 +0200")]),
        (BERLIN, "2026-03-29", "0 1 * * *", 3, [("29 01:00 +0100", "29 05:00 +0200")]),
        (BERLIN, "2026-03-29", "0,30 2 * * *", 0.5, [("29 03:00 +0200", "29 03:30 +0200")]),
        (BERLIN, "2026-03-28T12:00", "0 22 28 * *", 8, [("28 22:00 +0100", "29 07:00 +0200")]),
        (BERLIN, "2026-03-28", "0 0 29 * *", 24, [("29 00:00 +0100", "30 00:00 +0200")]),
        (BERLIN, "2026-03-27", "30 2 28 * *", 24, [("28 02:30 +0100", "29 03:00 +0200")]),
        # And in autumn: 03:00 becomes 02:00.
        (BERLIN, "2026-10-24", "0 8 * * *", 2,
         [("24 08:00 +0200", "24 10:00 +0200"), ("25 08:00 +0100", "25 10:00 +0100")]),
        (BERLIN, "2026-10-25", "30 2 * * *", 0.5, [("25 02:30 +0200", "25 02:00 +0100")]),
        (BERLIN, "2026-10-25", "30 2 * * *", 2, [("25 02:30 +0200", "25 03:30 +0100")]),
        (BERLIN, "2026-10-25", "0 1 * * *", 3, [("25 01:00 +0200", "25 03:00 +0100")]),
        (BERLIN, "2026-10-24T12:00", "0 22 24 * *", 8, [("24 22:00 +0200", "25 05:00 +0100")]),
        (BERLIN, "2026-10-23", "0 0 24 * *", 48, [("24 00:00 +0200", "26 00:00 +0100")]),
        # Every full hour: the repeated one opens it once.
        (BERLIN, "2026-10-25T00:30", "0 1-3 * * *", 0.5,
         [("25 01:00 +0200", "25 01:30 +0200"), ("25 02:00 +0200", "25 02:30 +0200"),
          ("25 03:00 +0100", "25 03:30 +0100")]),
        # New York in spring: 02:00 becomes 03:00.
        (NEW_YORK, "2026-03-08", "0 8 * * *", 2, [("08 08:00 -0400", "08 10:00 -0400")]),
        (NEW_YORK, "2026-03-08", "15 2 * * *", 1, [("08 03:00 -0400", "08 04:00 -0400")]),
        (NEW_YORK, "2026-03-07T12:00", "0 0 8 * *", 24, [("08 00:00 -0500", "09 00:00 -0400")]),
        # And in autumn: 02:00 becomes 01:00.
        (NEW_YORK, "2026-11-01", "30 1 * * *", 1, [("01 01:30 -0400", "01 01:30 -0500")]),
        (NEW_YORK, "2026-10-31T12:00", "0 0 1 * *", 24, [("01 00:00 -0400", "02 00:00 -0500")]),
        # Lord Howe, half an hour; in October 02:00 becomes 02:30.
        (LORD_HOWE, "2026-10-04", "15 2 * * *", 1, [("04 02:30 +1100", "04 03:30 +1100")]),
        (LORD_HOWE, "2026-10-04", "0 */3 * * *", 1 / 60,
         [(f"04 {hour}:00 +1100", f"04 {hour}:01 +1100") for hour in ("03", "06", "09", "12", "15", "18", "21")]),
        (LORD_HOWE, "2026-10-03T12:00", "0 0 4 * *", 24, [("04 00:00 +1030", "05 00:00 +1100")]),
        # And in April: 02:00 becomes 01:30.
        (LORD_HOWE, "2026-04-05", "45 1 * * *", 0.25, [("05 01:45 +1100", "05 01:30 +1030")]),
        (LORD_HOWE, "2026-04-05", "45 1 * * *", 1, [("05 01:45 +1100", "05 02:15 +1030")]),
        (LORD_HOWE, "2026-04-05", "0 3 * * *", 1, [("05 03:00 +1030", "05 04:00 +1030")]),
        (LORD_HOWE, "2026-04-04T12:00", "0 0 5 * *", 24, [("05 00:00 +1100", "06 00:00 +1030")]),
    ],
)  # fmt: skip
def test_windows_open_and_close_by_the_clocks_of_their_zone(
    zone: str, since: str, cron: str, hours: float, expected: list[tuple[str, str]]
) -> None:
    assert openings(window(cron, hours, zone), since, len(expected)) == expected


def test_a_window_that_opens_again_before_it_closes_stays_open() -> None:
    again = window("0 8,9,10 * * *", 1.5)
    assert openings(again, "2026-06-01", 1) == [("01 08:00 +0000", "01 11:30 +0000")]
    touching = window("0 8,9,10 * * *", 1)
    assert openings(touching, "2026-06-01", 1) == [("01 08:00 +0000", "01 11:00 +0000")]


def test_a_window_that_is_always_open_has_no_end_to_tell() -> None:
    always = window("* * * * *", 1 / 60, minimum=5)
    opened = opening(always, at("2026-06-01T08:00:30"))
    assert opened is not None
    assert opened.until is None
    bounds = bounds_at(pool(always), at("2026-06-01T08:00:30"))
    assert (bounds.minimum, bounds.reason) == (5, "min 5 (window * * * * * UTC)")
    assert bounds.next_change == at("2026-06-01T08:51:00")


def test_a_window_may_never_open_again() -> None:
    """cronsim looks fifty years ahead; the 29 February of 2100 does not exist."""
    leap = window("0 0 29 2 *", 1)
    assert next_start(leap, at("2026-01-01")) == at("2028-02-29")
    assert opening(leap, at("2028-02-29T00:59:59")) is not None
    assert opening(leap, at("2029-03-01")) is None


# --- bounds


NINE, TEN = at("2026-06-01T09:00"), at("2026-06-01T10:00")  # a Monday


@pytest.mark.parametrize(
    ("windows", "bounds", "reason"),
    [
        ([], (2, 30), ""),
        ([window("0 8 * * *", 0.5, minimum=20)], (2, 30), ""),
        ([window("0 8 * * mon-fri", 2, minimum=20)], (20, 30), "min 20 until 10:00 (window 0 8 * * mon-fri UTC)"),
        ([window("0 8 * * *", 2, minimum=0)], (0, 30), "min 0 until 10:00 (window 0 8 * * * UTC)"),
        ([window("0 8 * * *", 2, maximum=5)], (2, 5), "max 5 until 10:00 (window 0 8 * * * UTC)"),
        ([window("0 8 * * *", 2, minimum=40, maximum=50)], (40, 50),
         "min 40, max 50 until 10:00 (window 0 8 * * * UTC)"),
        # The highest min and the lowest max of those that are open.
        (
            [window("0 8 * * *", 2, minimum=20), window("0 8 * * *", 3, minimum=9), window("0 7 * * *", 9, maximum=25)],
            (20, 25),
            "min 20 until 10:00 (window 0 8 * * * UTC); max 25 until 16:00 (window 0 7 * * * UTC)",
        ),
        (
            [window("0 8 * * *", 2, minimum=20, maximum=40), window("0 7 * * *", 3, minimum=1, maximum=10)],
            (10, 10),
            "min 20 until 10:00 (window 0 8 * * * UTC); max 10 until 10:00 (window 0 7 * * * UTC); "
            "min is lowered to max, 10",
        ),
        # The time of its end, in its own zone.
        ([window("30 10 * * *", 1, BERLIN, 9)], (9, 30), "min 9 until 11:30 (window 30 10 * * * Europe/Berlin)"),
        ([window("0 0 * * sun", 48, minimum=9)], (9, 30), "min 9 until Tue 00:00 (window 0 0 * * sun UTC)"),
        ([window("0 0 1 * *", 24 * 20, minimum=9)], (9, 30), "min 9 until 2026-06-21 00:00 (window 0 0 1 * * UTC)"),
    ],
)  # fmt: skip
def test_open_windows_set_the_bounds(windows: list[ResolvedWindow], bounds: tuple[int, int], reason: str) -> None:
    found = bounds_at(pool(*windows), NINE)
    assert (found.minimum, found.maximum) == bounds
    assert found.reason == reason
    running = in_force(pool(*windows), NINE)
    assert (running.min, running.max) == bounds


def test_the_next_change_is_the_first_start_or_end() -> None:
    some = pool(window("0 8 * * *", 2, minimum=20), window("0 12 * * *", 2, minimum=5))
    changes = []
    now = at("2026-06-01T07:00")
    for _ in range(5):
        now = bounds_at(some, now).next_change
        changes.append(f"{datetime.fromtimestamp(now, UTC):%d %H:%M}")
    assert changes == ["01 08:00", "01 10:00", "01 12:00", "01 14:00", "02 08:00"]
    assert bounds_at(pool(), now).next_change == math.inf


def test_bounds_between_two_moments_are_told_from_change_to_change() -> None:
    some = pool(window("0 8 * * *", 2, minimum=20))
    told = bounds_between(some, at("2026-06-01T09:00"), at("2026-06-02T09:00"))
    assert [(f"{datetime.fromtimestamp(moment, UTC):%d %H:%M}", bounds.minimum) for moment, bounds in told] == [
        ("01 09:00", 20),
        ("01 10:00", 2),
        ("02 08:00", 20),
    ]
    assert [bounds.minimum for _, bounds in bounds_between(pool(), 5.0, 5.0)] == [2]


def test_a_timetable_follows_a_clock_that_is_set_back() -> None:
    timetable = Timetable(pool(window("0 8 * * *", 2, minimum=20)))
    times = ("08:00:00", "08:05:00", "07:59:59", "08:00:00", "09:59:59", "10:00:00", "09:00:00", "07:00:00")
    assert [timetable.at(at(f"2026-06-01T{time}")).minimum for time in times] == [20, 20, 2, 20, 20, 2, 20, 2]


# --- properties, around every change of the clocks of a year in three zones


ZONES = {
    BERLIN: ("2026-03-29T01:00", "2026-10-25T01:00"),
    NEW_YORK: ("2026-03-08T07:00", "2026-11-01T06:00"),
    LORD_HOWE: ("2026-04-04T15:00", "2026-10-03T15:30"),
}
CHANGES = [(zone, at(moment)) for zone, moments in ZONES.items() for moment in moments]
SPAN_S = 3 * DAY_S
MINUTES, HOURS = st.sets(st.sampled_from([0, 10, 15, 30, 45, 59]), min_size=1), st.sets(st.integers(0, 6), min_size=1)
LENGTHS_S = st.sampled_from([600.0, 1800.0, HOUR_S, 2 * HOUR_S, 5 * HOUR_S, DAY_S])


@cache
def clock_times(zone: str, change: float) -> Sequence[tuple[float, datetime]]:
    """Every minute around a change of the clocks, as a moment and what the clocks show."""
    count = int(2 * SPAN_S // 60)
    moments = [change - SPAN_S + 60.0 * minute for minute in range(count)]
    return [(moment, datetime.fromtimestamp(moment, ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for moment in moments]


def starts(zone: str, change: float, minutes: set[int], hours: set[int]) -> list[tuple[float, datetime]]:
    """When clocks show a time that fits for the first time, or pass over it; found minute by minute."""
    found = []
    times = clock_times(zone, change)
    shown = times[0][1]
    for moment, clock in times[1:]:
        while shown < clock:
            shown += timedelta(minutes=1)
            if shown.minute in minutes and shown.hour in hours:
                found.append((moment, shown))
    return found


def expected_end(start: tuple[float, datetime], length_s: float, times: Sequence[tuple[float, datetime]]) -> float:
    if length_s % DAY_S:
        return start[0] + length_s
    until = start[1] + timedelta(seconds=length_s)
    return next(moment for moment, clock in times if clock >= until)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(CHANGES), MINUTES, HOURS, LENGTHS_S, st.floats(-DAY_S, DAY_S))
def test_a_window_is_open_from_each_start_for_its_length(
    place: tuple[str, float], minutes: set[int], hours: set[int], length_s: float, offset_s: float
) -> None:
    zone, change = place
    now = change + offset_s
    cron = f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *"
    one = ResolvedWindow(cron, zone, length_s, 1, None)
    all_starts = starts(zone, change, minutes, hours)
    times = clock_times(zone, change)
    began = [start for start in all_starts if start[0] <= now]
    is_open = any(now < expected_end(start, length_s, times) for start in began)
    assert (opening(one, now) is not None) == is_open
    assert next_start(one, now) == next(start[0] for start in all_starts if start[0] > now)


WINDOWS = st.builds(
    ResolvedWindow,
    st.sampled_from(["0 8 * * *", "*/20 * * * *", "30 2 * * *", "0 0 * * sat,sun", "15 */3 * * *", "0 22 * * mon-fri"]),
    st.sampled_from([*ZONES, "UTC"]),
    LENGTHS_S,
    st.none() | st.integers(0, 50),
    st.none() | st.integers(1, 50),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(WINDOWS, max_size=4), st.sampled_from(CHANGES), st.floats(-2 * DAY_S, 2 * DAY_S), st.floats(0, 1))
def test_bounds_are_possible_and_hold_until_the_next_change(
    windows: list[ResolvedWindow], place: tuple[str, float], offset_s: float, share: float
) -> None:
    now = place[1] + offset_s
    some = pool(*windows)
    bounds = bounds_at(some, now)
    assert 0 <= bounds.minimum <= bounds.maximum
    assert bounds.maximum in {POOL.max, *(one.max for one in windows)}
    assert bounds.minimum in {POOL.min, bounds.maximum, *(one.min for one in windows)}
    assert bounds.next_change > now
    between = now + share * (min(bounds.next_change, now + 9 * DAY_S) - now) * 0.999
    later = bounds_at(some, between)
    assert (later.minimum, later.maximum) == (bounds.minimum, bounds.maximum)
    assert later.next_change >= bounds.next_change  # a window that goes on and on is followed further later


@settings(deadline=None, max_examples=40)
@given(st.lists(WINDOWS, max_size=3), st.lists(st.floats(-DAY_S, DAY_S), min_size=1, max_size=8))
def test_a_timetable_says_the_same_as_a_look_at_the_windows_wherever_the_clock_jumps(
    windows: list[ResolvedWindow], offsets_s: list[float]
) -> None:
    some = pool(*windows)
    timetable = Timetable(some)
    for offset_s in offsets_s:
        told, looked = timetable.at(NINE + offset_s), bounds_at(some, NINE + offset_s)
        assert (told.minimum, told.maximum) == (looked.minimum, looked.maximum)
