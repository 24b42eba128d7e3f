"""The three steps of the scaler, each by a table."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.scaler import Field, Pace, ServiceTime, Work, demand, share


@dataclass(frozen=True)
class Scale:
    target_wait_s: float | None = None
    backlog_per_worker: float | None = None
    utilisation: float | None = None


WAIT_2S = Scale(target_wait_s=2.0)
BACKLOG_10 = Scale(backlog_per_worker=10)


@pytest.mark.parametrize(
    ("work", "scale", "workers"),
    [
        (Work(), WAIT_2S, 0),
        (Work(queued=300, service_s=0.1), WAIT_2S, 15),
        (Work(queued=300, running=4, service_s=0.1), WAIT_2S, 19),
        (Work(queued=1, service_s=0.001), WAIT_2S, 1),
        (Work(queued=8), WAIT_2S, 4),  # an unknown service time counts as one second
        (Work(running=3, service_s=5.0), WAIT_2S, 3),
        (Work(queued=10, running=1), BACKLOG_10, 2),
        (Work(queued=11), BACKLOG_10, 2),
        (Work(queued=100), BACKLOG_10, 10),
        (Work(queued=0, running=7), Scale(utilisation=0.7), 10),
        (Work(queued=7, running=7), Scale(utilisation=0.7), 20),
    ],
)
def test_demand(work: Work, scale: Scale, workers: int) -> None:
    assert demand(work, scale) == workers


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
        (3, Field(0, 20, foreign_workers=4), 0),
        (10, Field(1, 20, headroom=2), 2),
    ],
)
def test_share(needed: int, field: Field, workers: int) -> None:
    assert share(needed, field) == workers


@given(st.integers(0, 500), st.integers(1, 9))
def test_the_parts_of_all_managers_make_up_the_demand(needed: int, managers: int) -> None:
    parts = [share(needed, Field(0, 1000, managers=managers, rank=rank)) for rank in range(managers)]
    assert sum(parts) == needed
    assert max(parts) - min(parts) <= 1


def test_pace_goes_up_at_once_and_down_only_after_the_cooldown() -> None:
    pace = Pace(cooldown_s=30.0)
    assert pace.size(0.0, 1) == 1
    assert pace.size(1.0, 8) == 8
    assert pace.size(2.0, 1) == 8
    assert pace.next_change() == 31.0
    assert pace.size(30.9, 1) == 8
    assert pace.size(31.0, 1) == 1
    assert pace.next_change() is None


def test_pace_falls_to_the_highest_demand_within_the_cooldown() -> None:
    pace = Pace(cooldown_s=10.0)
    for moment, wanted in ((0.0, 9), (5.0, 4), (8.0, 2)):
        pace.size(moment, wanted)
    assert pace.size(10.0, 1) == 4
    assert pace.size(15.0, 1) == 2
    assert pace.size(18.0, 1) == 1


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=60))
def test_pace_is_the_maximum_over_the_cooldown_window(steps: list[tuple[float, int]]) -> None:
    pace = Pace(cooldown_s=7.0)
    now = 0.0
    history: list[tuple[float, int]] = []
    for gap, wanted in steps:
        now += gap
        history.append((now, wanted))
        recent = [value for moment, value in history if moment > now - 7.0]
        assert pace.size(now, wanted) == max(recent)


def test_service_time_follows_the_counters_and_survives_their_reset() -> None:
    service = ServiceTime()
    service.update(0, 0)
    assert service.value_s is None
    service.update(10, 1_000_000_000)
    assert service.value_s == pytest.approx(0.1)
    service.update(20, 3_000_000_000)
    assert service.value_s == pytest.approx(0.1 + 0.3 * (0.2 - 0.1))
    before = service.value_s
    service.update(1, 5)
    assert service.value_s == before
