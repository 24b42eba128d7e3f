"""Which of the waiting jobs of a server that counts delayed ones too are startable: what idle workers tell of it."""

from __future__ import annotations

import pytest

from gearman_manager.scaling.held_jobs import PROOF_S, REST_S, HeldJobs


@pytest.fixture
def jobs() -> HeldJobs:
    return HeldJobs()


def test_jobs_that_wait_beside_a_resting_worker_are_no_reason_for_another_one(jobs: HeldJobs) -> None:
    jobs.look(0.0, 0, {"a": 7})
    jobs.look(10.0, 200, {"a": 7})
    assert jobs.startable(200) == 1
    assert jobs.next_change == pytest.approx(10.0 + PROOF_S)
    jobs.look(10.0 + PROOF_S, 200, {"a": 7})
    assert (jobs.startable(200), jobs.held, jobs.next_change) == (1, 200, None)


def test_jobs_that_keep_every_worker_busy_are_startable(jobs: HeldJobs) -> None:
    jobs.look(0.0, 0, {"a": 7})
    jobs.look(10.0, 200, {})
    assert jobs.startable(200) == 200


def test_a_worker_between_two_short_jobs_is_not_resting(jobs: HeldJobs) -> None:
    for number in range(50):
        jobs.look(number / 10, 200, {"a": 7 + number})
        assert jobs.startable(200) == 200
    assert jobs.held == 0


def test_a_new_worker_is_given_the_time_to_look(jobs: HeldJobs) -> None:
    jobs.look(0.0, 200, {"a": 0})
    assert jobs.startable(200) == 1
    assert jobs.next_change == pytest.approx(REST_S)
    jobs.look(0.05, 199, {})  # it has found one
    assert jobs.startable(199) == 199


def test_only_jobs_that_waited_all_the_time_are_held(jobs: HeldJobs) -> None:
    jobs.look(0.0, 0, {"a": 1})
    for tenth in range(6):
        jobs.look(1 + tenth / 10, 200, {"a": 1})
    jobs.look(1.6, 500, {"a": 1})  # others, a moment before the worker takes one of them
    jobs.look(1.7, 499, {})
    assert (jobs.held, jobs.startable(499)) == (200, 299)


def test_held_jobs_are_forgotten_as_they_go(jobs: HeldJobs) -> None:
    jobs.look(0.0, 0, {"a": 1})
    for tenth in range(6):
        jobs.look(1 + tenth / 10, 200, {"a": 1})
    jobs.look(2.0, 50, {})
    assert (jobs.held, jobs.startable(50)) == (50, 1)
    jobs.look(3.0, 0, {})
    assert (jobs.held, jobs.startable(0)) == (0, 0)
