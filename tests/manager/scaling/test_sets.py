"""Jobs in a worker's hands make no pool grow: one runs, the others wait, or belong to its call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.config.resolve import ResolvedScale
from gearman_manager.scaling.sets import Hands, apart
from gearman_manager.scaling.steps import Work, demand

counts = st.integers(0, 2000)
WAIT = ResolvedScale(2.0, None, None, 30.0, None)


@pytest.mark.parametrize(
    ("queued", "hands", "expected"),
    [
        (0, Hands([0], [False], 0, 0), (0, 0)),
        (7, Hands([100], [False], 2, 0), (105, 2)),  # two workers with fifty jobs each
        (0, Hands([1], [False], 1, 0), (0, 1)),
        (0, Hands([3], [False], 0, 0), (2, 1)),  # between two jobs of a set the worker looks idle
        (0, Hands([100, 20], [False, False], 1, 1), (118, 2)),
        (500, Hands([100], [True], 1, 0), (500, 1)),  # one call with a hundred jobs
        (0, Hands([100, 50], [True, False], 2, 0), (48, 2)),
        (0, Hands([2], [False], 1, 5), (0, 2)),  # on two of six workers
    ],
)
def test_a_worker_runs_one_job(queued: int, hands: Hands, expected: tuple[int, int]) -> None:
    work = apart(Work(queued, sum(hands.running)), hands)
    assert (work.queued, work.running) == expected


@given(queued=counts, running=counts, workers=st.integers(1, 50))
def test_jobs_in_hands_ask_for_no_more_workers_than_jobs_in_the_queue(queued: int, running: int, workers: int) -> None:
    """Held by `workers` workers, or waiting with one running on each: the demand is the same."""
    held = apart(Work(queued, running), Hands([running], [False], workers, 0))
    begun = min(running, workers)
    one_by_one = Work(queued + running - begun, begun)
    assert demand(held, WAIT, 0.001) == demand(one_by_one, WAIT, 0.001)


@given(running=counts, workers=st.integers(1, 50))
def test_the_jobs_of_a_call_are_one_piece_of_work(running: int, workers: int) -> None:
    work = apart(Work(0, running), Hands([running], [True], workers, 0))
    assert work.queued == 0
    assert demand(work, WAIT, 10.0) <= max(workers, 1)
