"""The share of a processor that a process has used lately."""

from __future__ import annotations

import pytest

from gearman_manager.host.processor_share import WINDOW_S, ProcessorShare

STARTED = 100.0


def test_it_is_of_the_last_seconds_and_first_of_its_life() -> None:
    share = ProcessorShare()
    assert share.cores(STARTED + 10, 5.0, STARTED) == 0.5
    assert share.cores(STARTED + 10 + WINDOW_S - 1, 9.0, STARTED) == 0.5  # too soon for another one
    assert share.cores(STARTED + 10 + WINDOW_S, 5.0 + WINDOW_S, STARTED) == 1.0
    assert share.cores(STARTED + 10 + 3 * WINDOW_S, 5.0 + WINDOW_S, STARTED) == 0.0


def test_a_process_that_was_started_just_now_has_no_endless_share() -> None:
    assert ProcessorShare().cores(STARTED, 0.05, STARTED) == pytest.approx(0.5)
