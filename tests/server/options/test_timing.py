"""The due times of schedules: cron expressions on the clocks of a time zone, and even intervals."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_server.options.timing import Every, parse_cron


def due_times(expression: str, zone: str, since: str, until: str) -> list[str]:
    """All due times between two times, on the zone's clocks."""
    cron = parse_cron(expression, zone)
    unix_time, end = datetime.fromisoformat(since).timestamp(), datetime.fromisoformat(until).timestamp()
    times = []
    while (unix_time := cron.next_after(unix_time)) < end:
        times.append(datetime.fromtimestamp(unix_time, cron.zone).strftime("%d. %H:%M%z"))
    return times


@pytest.mark.parametrize(
    ("expression", "since", "until", "expected"),
    [
        pytest.param(
            "30 2 * * *",
            "2026-03-28T12:00Z",
            "2026-03-30T12:00Z",
            ["29. 03:00+0200", "30. 02:30+0200"],
            id="an hour that is left out in spring comes right after the gap",
        ),
        pytest.param(
            "30 2 * * *",
            "2026-10-24T12:00Z",
            "2026-10-26T12:00Z",
            ["25. 02:30+0200", "26. 02:30+0100"],
            id="an hour that comes twice in autumn counts once",
        ),
        pytest.param(
            "*/30 * * * *",
            "2026-10-24T23:59Z",
            "2026-10-25T02:00Z",
            ["25. 02:00+0200", "25. 02:30+0200", "25. 02:00+0100", "25. 02:30+0100"],
            id="what runs every half hour goes on evenly in autumn",
        ),
        pytest.param(
            "*/30 * * * *",
            "2026-03-29T00:10Z",
            "2026-03-29T01:40Z",
            ["29. 01:30+0100", "29. 03:00+0200", "29. 03:30+0200"],
            id="what runs every half hour goes on evenly in spring",
        ),
        pytest.param(
            "0 0 31 * *",
            "2026-01-31T00:00Z",
            "2026-08-01T00:00Z",
            ["31. 00:00+0200", "31. 00:00+0200", "31. 00:00+0200"],
            id="months without a 31st have none",
        ),
    ],
)
def test_cron_follows_the_clocks_of_its_zone(expression: str, since: str, until: str, expected: list[str]) -> None:
    assert due_times(expression, "Europe/Berlin", since, until) == expected


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        pytest.param("0 */3 * * *", "2026-10-04", "00:00 03:00 06:00", id="hours on a day with a gap of half an hour"),
        pytest.param("0 */3 * * *", "2026-04-05", "00:00 03:00 06:00", id="hours on a day that repeats half an hour"),
        pytest.param("*/15 1-2 * * *", "2026-10-04", "01:00 01:15 01:30 01:45 02:30 02:45", id="minutes and the gap"),
        pytest.param(
            "*/15 1 * * *", "2026-04-05", "01:00 01:15 01:30 01:45 01:30 01:45", id="minutes and the repeated time"
        ),
        pytest.param("15 2 * * *", "2026-10-04", "02:30", id="a skipped time comes right after the gap"),
        pytest.param("45 1 * * *", "2026-04-05", "01:45", id="a repeated time counts once"),
    ],
)
def test_no_run_is_missed_where_the_clocks_change_by_half_an_hour(expression: str, day: str, expected: str) -> None:
    times = due_times(expression, "Australia/Lord_Howe", f"{day}T00:00+12:00", f"{day}T07:00+10:30")
    assert [time[4:9] for time in times if time[:2] == day[-2:] and time[4:9] < "07:00"] == expected.split()


#: Days on which clocks change: by an hour, by half an hour, at midnight, and with a shift that comes before it.
CHANGES: Final = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "America/Santiago": ["2026-04-05", "2026-09-06"],
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],
}


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days]),
    minute=st.sampled_from(["*", "*/7", "*/15", "*/30"]),
    hour=st.sampled_from(["*", "*/2", "1-3", "0", "23,2"]),
    minutes=st.integers(-180, 240),
)
def test_a_run_every_few_minutes_is_due_whenever_the_clocks_show_it(
    change: tuple[str, str], minute: str, hour: str, minutes: int
) -> None:
    zone, expression = ZoneInfo(change[0]), f"{minute} {hour} * * *"
    since = int(datetime.fromisoformat(change[1]).replace(tzinfo=zone).timestamp()) + 60 * minutes
    shown = ((t, datetime.fromtimestamp(t, zone).replace(tzinfo=None)) for t in range(since + 60, since + 172800, 60))
    fits = (t for t, clock in shown if next(CronSim(expression, clock - timedelta(seconds=1))) == clock.replace(fold=0))
    assert parse_cron(expression, change[0]).next_after(since) == next(fits)


def test_the_29th_of_february_waits_for_a_leap_year() -> None:
    leap = parse_cron("0 0 29 2 *").next_after(datetime.fromisoformat("2026-11-21T00:00Z").timestamp())
    assert leap == datetime.fromisoformat("2028-02-29T00:00Z").timestamp()


def test_the_next_due_time_is_always_later_than_the_given_time() -> None:
    cron = parse_cron("*/5 * * * *")
    assert [cron.next_after(time) for time in (300.0, 300.4, 299.9, 599.999)] == [600.0, 600.0, 300.0, 600.0]
    assert [Every(10).next_after(time) for time in (300.0, 300.4, 299.9)] == [310.0, 310.0, 300.0]


def test_even_intervals_do_not_depend_on_the_start() -> None:
    assert {Every(600).next_after(time) for time in (1200.0, 1234.5, 1799.9)} == {1800.0}


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("* * * *", "UTC", "has five fields"),
        ("* * * * * *", "UTC", "has five fields"),
        ("61 * * * *", "UTC", "bad minute"),
        ("0 0 31 2 *", "UTC", "bad day-of-month"),
        ("@daily", "UTC", "has five fields"),
        ("* * * * *", "Europe/Nowhere", "there is no time zone 'Europe/Nowhere'"),
        ("* * * * *", "../../etc/passwd", "there is no time zone"),
    ],
)
def test_an_invalid_cron_expression_is_refused_with_the_reason(expression: str, zone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_cron(expression, zone)
