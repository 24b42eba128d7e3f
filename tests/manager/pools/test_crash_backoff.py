"""The wait before a crashed worker is replaced."""

from __future__ import annotations

import pytest

from gearman_manager.pools.crash_backoff import CrashBackoff


def test_after_an_occasional_crash_the_worker_is_replaced_at_once() -> None:
    backoff = CrashBackoff()
    for moment in (0.0, 20.0, 40.0, 60.0):
        backoff.crashed(moment, registered=True, workers=4, jitter=0.5)
        assert backoff.not_before <= moment


def test_workers_that_never_register_are_replaced_after_ever_longer_waits_up_to_a_bound() -> None:
    backoff = CrashBackoff()
    delays = []
    now = 0.0
    for _ in range(12):
        backoff.crashed(now, registered=False, workers=1, jitter=0.5)
        delays.append(backoff.not_before - now)
        now = max(now, backoff.not_before)
    assert delays[0] == 0.0
    assert delays[1:5] == pytest.approx([0.5, 1.0, 2.0, 4.0])
    assert delays[-1] == pytest.approx(backoff.MAX_DELAY_S)


def test_many_crashes_in_a_short_time_slow_down_even_registered_workers() -> None:
    backoff = CrashBackoff()
    for number in range(20):
        backoff.crashed(number * 0.1, registered=True, workers=4, jitter=0.5)
    assert backoff.not_before > 2.0


def test_after_a_quiet_time_the_back_off_starts_anew() -> None:
    backoff = CrashBackoff()
    for number in range(5):
        backoff.crashed(float(number), registered=False, workers=1, jitter=0.5)
    backoff.crashed(500.0, registered=False, workers=1, jitter=0.5)
    assert backoff.not_before == 500.0
