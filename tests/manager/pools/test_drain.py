"""When a worker counts as quiet in a drain: it begins no further job, whatever reaches it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.pools.drain import Drain
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.workforce import Workforce

from .conftest import Staff


@pytest.fixture(autouse=True)
def without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job server is there to be asked."""
    monkeypatch.setattr(Drain, "_ask_servers", lambda _self: None)


def draining(staff: Staff, workers: int = 1, **keys: Any) -> tuple[Drain, list[SlotWriter]]:
    """A drain of registered workers, which do not react to signals, and their sides of their slots."""
    staff.start.command = ("sh", "-c", "trap : TERM; while :; do sleep 60 & wait; done")
    lives = staff.serving(workers, **keys)
    drain = Drain(staff.workforce, staff.woken.set)
    drain.begin(math.inf)
    return drain, [staff.slot(live) for live in lives]


def test_a_worker_without_a_job_may_begin_one_until_it_leaves(staff: Staff) -> None:
    drain, (slot,) = draining(staff)
    slot.idle()
    assert drain.may_begin() == ["mail/1"]
    slot.leave()
    assert drain.may_begin() == []
    drain.close()


def test_one_whose_job_was_seen_after_it_was_told_begins_no_other(staff: Staff) -> None:
    drain, (slot,) = draining(staff)
    slot.begin(0, 0, b"H:x:1", 1, 0)
    assert (drain.may_begin(), drain.running) == ([], 1)
    slot.end(2, failed=False)  # between its job and its end it is idle for a moment
    assert drain.may_begin() == []
    drain.close()


def test_one_with_several_jobs_says_itself_that_it_begins_no_more(staff: Staff) -> None:
    drain, (slot,) = draining(staff, concurrency=3)
    slot.serve(1)
    assert drain.may_begin() == ["mail/1"]  # answers to its other requests may be on their way
    slot.begin_no_more()
    assert drain.may_begin() == []
    drain.close()


def test_before_it_is_told_every_worker_may_begin_a_job(staff: Staff) -> None:
    (live,) = staff.serving(1)
    staff.slot(live).begin(0, 0, b"H:x:1", 1, 0)
    assert Drain(staff.workforce, staff.woken.set).may_begin() == ["mail/1"]


def test_the_end_is_moved_for_all_workers_and_nobody_is_told_twice(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(workforce: Workforce, live: LiveWorker) -> None:
        live.told_at = 1.0
        told.append(live.name)

    monkeypatch.setattr(Workforce, "tell_to_stop", tell)
    drain, _ = draining(staff, 2)
    assert [live.kill_at for live in staff.workers] == [None, None]
    drain.begin(1e9)
    drain.begin(2e9)
    assert [live.kill_at for live in staff.workers] == [2e9 + 3, 2e9 + 3]
    assert told == ["mail/1", "mail/2"]
    drain.close()


def test_of_a_program_one_running_job_counts_as_its_own(staff: Staff) -> None:
    staff.arrange(2, command="sleep 60", functions=["mail", "post"])
    staff.workforce.reconcile(0.0)
    drain = Drain(staff.workforce, staff.woken.set)
    running = [{"mail": 1}, {"mail": 1, "post": 1}, {"mail": 5, "post": 1}, {"other": 3}]
    assert [drain.own_jobs(each) for each in running] == [1, 2, 2, 0]
