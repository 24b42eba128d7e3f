"""Moments of the scaler's clock as times of day."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from gearman_manager.scaling import clock


@pytest.mark.parametrize(
    ("back_s", "text"),
    [
        (0.0, "12:01:07"),
        (-0.5, "12:01:07"),
        (7.0, "12:01"),
        (7.000001, "12:01"),  # the sum of clocks is not exact
        (86_400.0, "2026-03-01 12:01:07"),
        (-86_400.0, "2026-03-03 12:01:07"),
    ],
)
def test_a_time_of_day_is_as_short_as_it_can_be(monkeypatch: pytest.MonkeyPatch, back_s: float, text: str) -> None:
    noon = time.mktime((2026, 3, 2, 12, 1, 7, 0, 0, -1))
    fixed = SimpleNamespace(
        time=lambda: noon,
        monotonic=lambda: 500.0,
        localtime=lambda at=noon: time.localtime(at),
        strftime=time.strftime,
    )
    monkeypatch.setattr(clock, "time", fixed)
    assert clock.epoch(500.0 - back_s) == pytest.approx(noon - back_s)
    assert clock.time_of_day(500.0 - back_s) == text
