"""The three steps of the scaler: tables, properties, and ten minutes of steady load on a virtual clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.scaling.decision import Limit, Reckoning, Step
from gearman_manager.scaling.steps import (
    Field,
    Lateness,
    Pace,
    PoolScaler,
    ServiceTime,
    Work,
    demand,
    keep_within,
    take_share,
)


@dataclass(frozen=True)
class Scale:
    target_wait_s: float | None = None
    backlog_per_worker: float | None = None
    utilisation: float | None = None
    cooldown_s: float = 30.0
    idle_s: float | None = None


WAIT_2S = Scale(target_wait_s=2.0)
BACKLOG_10 = Scale(backlog_per_worker=10)
BUSY_70 = Scale(utilisation=0.7)
AWAY = Limit("servers", "a job server is away")

SCALES = st.one_of(
    st.builds(Scale, target_wait_s=st.floats(0.01, 3600)),
    st.builds(Scale, backlog_per_worker=st.integers(1, 1000)),
    st.builds(Scale, utilisation=st.floats(0.05, 1)),
)
WORK = st.builds(Work, queued=st.integers(0, 10_000), running=st.integers(0, 500), jobs_per_worker=st.integers(1, 50))
SERVICE_S = st.one_of(st.none(), st.floats(0, 86_400))


# --- demand


@pytest.mark.parametrize(
    ("work", "service_s", "workers"),
    [
        (Work(), 0.1, 0),
        (Work(running=3), 5.0, 3),
        (Work(queued=1), 0.001, 1),  # even the shortest job needs a worker
        (Work(queued=1), 60.0, 1),  # one job never needs two workers
        (Work(queued=5), 60.0, 5),
        (Work(queued=5, running=5), 60.0, 10),  # the busy ones will not be free in time
        (Work(queued=300), 0.1, 28),  # each starts ten more jobs within the planned second
        (Work(queued=300, running=28), 0.1, 30),
        (Work(queued=280, running=28), 0.1, 28),  # the busy ones start them all in time
        (Work(queued=8), None, 4),  # an unknown service time counts as one second
        (Work(queued=3, running=1), 0.01, 1),
        (Work(queued=3, running=1, is_late=True), 0.01, 2),  # the running job is a long one
        (Work(queued=20, running=5, jobs_per_worker=10), 60.0, 3),
        (Work(queued=1, running=0, jobs_per_worker=10), 0.01, 1),
    ],
)
def test_demand_for_a_target_wait(work: Work, service_s: float | None, workers: int) -> None:
    assert demand(work, WAIT_2S, service_s) == workers


@pytest.mark.parametrize(
    ("work", "scale", "workers"),
    [
        (Work(queued=1), BACKLOG_10, 1),
        (Work(queued=10, running=1), BACKLOG_10, 1),
        (Work(queued=11, running=1), BACKLOG_10, 2),
        (Work(queued=100), BACKLOG_10, 10),
        (Work(queued=90, running=10), BACKLOG_10, 10),
        (Work(running=7), BACKLOG_10, 7),
        (Work(running=7), BUSY_70, 10),
        (Work(queued=7, running=7), BUSY_70, 20),
        (Work(), BUSY_70, 0),
    ],
)
def test_demand_for_a_backlog_and_for_a_utilisation(work: Work, scale: Scale, workers: int) -> None:
    assert demand(work, scale, 1.0) == workers


@given(WORK, SCALES, SERVICE_S)
def test_demand_covers_the_running_jobs_and_every_waiting_one(
    work: Work, scale: Scale, service_s: float | None
) -> None:
    needed = demand(work, scale, service_s)
    assert needed * work.jobs_per_worker >= work.running
    assert needed >= 1 or work.queued + work.running == 0
    if scale.utilisation is None:
        assert needed <= work.queued + work.running


@given(WORK, SCALES, SERVICE_S, st.integers(0, 1000))
def test_more_waiting_jobs_never_need_fewer_workers(
    work: Work, scale: Scale, service_s: float | None, more: int
) -> None:
    busier = Work(work.queued + more, work.running, work.jobs_per_worker)
    assert demand(busier, scale, service_s) >= demand(work, scale, service_s)


# --- share


@pytest.mark.parametrize(
    ("needed", "field", "workers"),
    [
        (0, Field(1, 8), 1),
        (5, Field(1, 8), 5),
        (50, Field(1, 8), 8),
        (5, Field(0, 8), 5),
        (10, Field(0, 20, managers=3, rank=0), 4),
        (10, Field(0, 20, managers=3, rank=1), 3),
        (10, Field(0, 20, managers=3, rank=2), 3),
        (10, Field(0, 20, foreign_workers=4), 6),
        (10, Field(0, 20, managers=2, rank=1, foreign_workers=3), 3),
        (3, Field(0, 20, foreign_workers=4), 0),
        (3, Field(1, 20, foreign_workers=4), 1),
    ],
)
def test_a_managers_share_of_the_demand(needed: int, field: Field, workers: int) -> None:
    assert share(needed, field) == workers


def share(needed: int, field: Field) -> int:
    """This manager's part, within its bounds."""
    reckoning = Reckoning(needed, "the test")
    take_share(reckoning, field)
    keep_within(reckoning, field)
    return reckoning.size


@given(st.integers(0, 500), st.integers(1, 9))
def test_the_shares_of_all_managers_add_up_to_the_demand(needed: int, managers: int) -> None:
    parts = [share(needed, Field(0, 1000, managers=managers, rank=rank)) for rank in range(managers)]
    assert sum(parts) == needed
    assert max(parts) - min(parts) <= 1


# --- pace


def test_pace_goes_up_at_once_and_down_only_after_the_cooldown() -> None:
    pace = Pace(cooldown_s=30.0)
    assert pace.size(0.0, 1) == 1
    assert pace.size(1.0, 8) == 8
    assert pace.size(2.0, 1) == 8
    assert pace.next_change() == 32.0
    assert pace.size(31.9, 1) == 8
    assert pace.size(32.0, 1) == 1
    assert pace.next_change() is None


def test_a_wanted_size_holds_until_the_next_one_so_the_cooldown_starts_when_demand_falls() -> None:
    pace = Pace(cooldown_s=30.0)
    pace.size(0.0, 8)
    assert pace.size(100.0, 1) == 8
    assert pace.next_change() == 130.0


def test_pace_falls_to_the_highest_demand_within_the_cooldown() -> None:
    pace = Pace(cooldown_s=10.0)
    for moment, wanted in ((0.0, 9), (5.0, 4), (8.0, 2), (9.0, 1)):
        assert pace.size(moment, wanted) == 9
    assert pace.size(15.0, 1) == 4
    assert pace.size(18.0, 1) == 2
    assert pace.size(19.0, 1) == 1


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=60))
def test_pace_is_the_maximum_over_the_cooldown_window(steps: list[tuple[float, int]]) -> None:
    pace = Pace(cooldown_s=7.0)
    now = 0.0
    held: list[tuple[float, int]] = []  # each wanted size with the end of its time
    for gap, wanted in steps:
        now += gap
        if held:
            held.append((now, held[-1][1]))
        held.append((now, wanted))
        assert pace.size(now, wanted) == max(size for until, size in held if until + 7.0 > now)


def test_the_last_worker_of_a_pool_with_min_0_stays_for_the_idle_time_and_the_first_job_starts_one() -> None:
    pace = Pace(cooldown_s=5.0, idle_s=60.0)
    assert pace.size(0.0, 0) == 0
    assert pace.size(10.0, 4) == 4
    assert pace.size(20.0, 0) == 4
    assert pace.next_change() == 25.0
    assert pace.size(25.0, 0) == 1
    assert pace.next_change() == 80.0
    assert pace.size(79.9, 0) == 1
    assert pace.size(80.0, 0) == 0
    assert pace.next_change() is None
    assert pace.size(500.0, 1) == 1


def test_idle_may_be_shorter_than_the_cooldown() -> None:
    pace = Pace(cooldown_s=30.0, idle_s=2.0)
    pace.size(0.0, 4)
    assert pace.size(1.0, 0) == 4
    assert pace.next_change() == 3.0
    assert pace.size(3.0, 0) == 0


# --- service time and lateness


def test_service_time_follows_the_counters_and_survives_their_reset() -> None:
    service = ServiceTime()
    service.update(0, 0)
    assert service.value_s is None
    service.update(10, 1_000_000_000)
    assert service.value_s == pytest.approx(0.1)
    service.update(11, 1_200_000_000)
    assert service.value_s == pytest.approx(0.1 + 0.1 * (0.2 - 0.1))
    before = service.value_s
    service.update(1, 5)
    assert service.value_s == before


def test_each_job_has_the_same_weight_however_often_the_counters_are_read() -> None:
    seldom, often = ServiceTime(), ServiceTime()
    for service in (seldom, often):
        service.update(1, 1_000_000_000)
    for jobs in range(2, 22):
        often.update(jobs, 1_000_000_000 + (jobs - 1) * 100_000_000)
    seldom.update(21, 3_000_000_000)
    assert often.value_s == pytest.approx(seldom.value_s)


def test_a_queue_is_late_when_its_jobs_were_not_served_within_the_expected_wait() -> None:
    lateness = Lateness()
    assert not lateness.is_late(0.0, queued=0, finished=0, wait_s=1.0)
    assert not lateness.is_late(5.0, queued=10, finished=0, wait_s=1.0)
    assert lateness.next_change(5.0, wait_s=1.0) == 6.0
    assert not lateness.is_late(5.9, queued=10, finished=10, wait_s=1.0)  # those ten are done, others wait
    assert not lateness.is_late(6.8, queued=3, finished=12, wait_s=1.0)
    assert lateness.is_late(6.9, queued=3, finished=12, wait_s=1.0)
    assert lateness.next_change(6.9, wait_s=1.0) is None
    assert not lateness.is_late(7.0, queued=0, finished=13, wait_s=1.0)


def test_a_short_job_does_not_wait_behind_a_long_one() -> None:
    scaler = PoolScaler(WAIT_2S)
    scaler.service.update(100, 1_000_000_000)  # jobs of 10 ms so far
    assert scaler.size(0.0, Work(running=1), Field(1, 4)) == 1
    assert scaler.size(10.0, Work(queued=1, running=1), Field(1, 4)) == 1
    assert scaler.next_change == 11.0
    assert scaler.size(11.0, Work(queued=1, running=1), Field(1, 4)) == 2


# --- all together


@given(
    st.lists(st.tuples(st.floats(0, 20), WORK, st.integers(0, 30)), max_size=40),
    SCALES,
    st.integers(0, 5),
    st.integers(0, 20),
)
def test_a_pool_never_leaves_its_bounds(
    steps: list[tuple[float, Work, int]], scale: Scale, minimum: int, spread: int
) -> None:
    field = Field(minimum, minimum + spread)
    scaler = PoolScaler(scale)
    now = 0.0
    for gap, work, at_least in steps:
        now += gap
        assert field.minimum <= scaler.reckon(now, work, field, kept=Step(AWAY, at_least)).size <= field.maximum
        assert scaler.next_change is None or scaler.next_change > now


def test_while_a_server_is_away_a_pool_may_grow_but_not_shrink() -> None:
    scaler = PoolScaler(Scale(target_wait_s=2.0, cooldown_s=1.0))
    field = Field(1, 10)
    assert scaler.size(0.0, Work(queued=6), field) == 3
    assert scaler.reckon(100.0, Work(), field, kept=Step(AWAY, 3)).size == 3
    assert scaler.reckon(200.0, Work(running=5), field, kept=Step(AWAY, 3)).size == 5
    assert scaler.reckon(300.0, Work(), field, kept=Step(AWAY, 5)).size == 5
    assert scaler.size(300.5, Work(), field) == 5  # the server is back; the cooldown starts now
    assert scaler.size(301.5, Work(), field) == 1


def test_new_settings_keep_the_sizes_wanted_before() -> None:
    scaler = PoolScaler(WAIT_2S)
    scaler.size(0.0, Work(running=8), Field(1, 10))
    scaler.arrange(Scale(target_wait_s=5.0, cooldown_s=60.0))
    assert scaler.size(1.0, Work(), Field(1, 10)) == 8
    assert scaler.size(2.0, Work(), Field(1, 6)) == 6
    assert scaler.size(60.9, Work(), Field(1, 10)) == 8
    assert scaler.size(61.0, Work(), Field(1, 10)) == 1


@pytest.mark.parametrize("scale", [WAIT_2S, BACKLOG_10, BUSY_70])
def test_no_flapping_under_a_steady_load_for_ten_minutes(scale: Scale) -> None:
    """Work for eight workers; the counts jitter like those that are read twenty times a second."""
    scaler = PoolScaler(scale)
    dice = random.Random(7)
    sizes = []
    for look in range(12_000):
        now = look * 0.05
        scaler.service.update(look, look * 500_000_000)
        sizes.append(scaler.size(now, Work(dice.choice((0, 0, 0, 1, 2)), dice.choice((7, 8, 8, 9))), Field(1, 20)))
    settled = sizes[1200:]  # after a minute
    assert len(set(settled)) == 1
