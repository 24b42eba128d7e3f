"""The time at which a delayed job is to run."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gearman_client import ArgumentError
from gearman_client.client.run_time import run_time

NOW = 1_700_000_000.25


@pytest.mark.parametrize(
    ("at", "delay", "expected"),
    [
        (None, None, None),
        (None, 0, None),
        (None, timedelta(0), None),
        (None, 0.5, 1_700_000_001),
        (None, 1, 1_700_000_002),
        (None, timedelta(minutes=1), 1_700_000_061),
        (1_800_000_000, None, 1_800_000_000),
        (1_800_000_000.001, None, 1_800_000_001),
        (datetime(2030, 1, 1, tzinfo=UTC), None, 1_893_456_000),
        (0, None, 0),
    ],
)
def test_fractions_of_a_second_are_rounded_up(
    at: float | datetime | None, delay: float | timedelta | None, expected: int | None
) -> None:
    assert run_time(at, delay, NOW) == expected


@pytest.mark.parametrize(
    ("at", "delay"), [(1, 1), (None, -1), (None, math.nan), (None, math.inf), (math.nan, None), (1e300, None)]
)
def test_invalid_times_are_refused(at: float | None, delay: float | None) -> None:
    with pytest.raises(ArgumentError):
        run_time(at, delay, NOW)


@pytest.mark.parametrize(
    ("at", "delay", "expected"),
    [
        (None, "5min", "delay '5min': expected seconds"),
        (None, True, "delay True: expected seconds"),
        (None, [1], r"delay \[1\]: expected seconds"),
        ("tomorrow", None, "at 'tomorrow': expected a datetime or Unix seconds"),
        (date(2030, 1, 1), None, "expected a datetime or Unix seconds"),
        (timedelta(1), None, "expected a time; `delay` takes a timedelta"),
    ],
)
def test_values_that_are_no_times_are_refused_with_what_is_expected(at: Any, delay: Any, expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        run_time(at, delay, NOW)


def test_every_kind_of_number_is_a_time() -> None:
    assert run_time(None, Decimal("0.5"), NOW) == 1_700_000_001  # type: ignore[arg-type]


def test_a_time_without_a_time_zone_is_local_time() -> None:
    local = datetime(2030, 1, 1, 12)
    assert run_time(local, None, NOW) == int(local.astimezone().timestamp())
