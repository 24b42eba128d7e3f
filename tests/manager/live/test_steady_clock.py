"""Moments that do not waver."""

from __future__ import annotations

import time

import pytest

from gearman_manager.live.steady_clock import SteadyClock


def test_a_moment_stays_while_the_clocks_drift_and_moves_when_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteadyClock()
    moment = time.monotonic()
    told = clock.epoch(moment)
    assert told == pytest.approx(time.time(), abs=5.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 0.3)
    assert clock.epoch(moment) == told
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert clock.epoch(moment) == pytest.approx(told + 3600, abs=1.0)
