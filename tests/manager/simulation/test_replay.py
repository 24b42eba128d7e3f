"""The simulation for days: it agrees with the one for minutes, follows changing bounds, and counts its workers."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.config import ResolvedScale
from gearman_manager.scaling.steps import Field
from gearman_manager.simulation.engine import simulate
from gearman_manager.simulation.replay import Replay, ReplaySettings, replay
from gearman_manager.simulation.scaling_policies import OurScaler
from gearman_manager.simulation.trace import Arrival, read_trace

TRACES = Path(__file__).parents[3] / "benchmarks" / "traces"
WAIT_2S = ResolvedScale(2.0, None, None, cooldown_s=30.0, idle_s=None)


def replayed(trace: list[Arrival], bounds: Field, settings: ReplaySettings) -> Replay:
    at_s, service_s = array("d", [job.at_s for job in trace]), array("d", [job.service_s for job in trace])
    return replay(at_s, service_s, [(0.0, bounds)], settings)


SCALES = st.sampled_from([(2.0, None, None), (0.3, None, None), (None, 3, None), (None, None, 0.7)])
TRACE = st.lists(st.builds(Arrival, st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=60).map(sorted)


@given(
    TRACE,
    st.integers(0, 3),
    st.integers(0, 8),
    SCALES,
    st.sampled_from([0.0, 0.05, 2.0]),
    st.sampled_from([1, 3]),
)
def test_it_gives_what_the_other_simulation_gives(
    trace: list[Arrival],
    minimum: int,
    more: int,
    policy: tuple[float | None, int | None, float | None],
    spawn_delay_s: float,
    concurrency: int,
) -> None:
    bounds = Field(minimum, max(1, minimum + more))
    scale = ResolvedScale(*policy, cooldown_s=5.0, idle_s=10.0 if minimum == 0 else None)
    expected = simulate(trace, OurScaler(bounds, scale, "ours", concurrency), spawn_delay_s, concurrency=concurrency)
    found = replayed(trace, bounds, ReplaySettings(scale, spawn_delay_s, concurrency, calm_s=0.0))
    assert sorted(found.waits_s) == expected.waits_s
    assert found.worker_seconds() == pytest.approx(expected.worker_seconds)
    assert found.end_s == pytest.approx(expected.samples[-1].at_s)


@pytest.mark.parametrize("name", ["steady", "burst", "daily_wave", "spiky"])
@pytest.mark.parametrize("minimum", [1, 4])
def test_asking_the_scaler_less_often_while_all_is_calm_changes_little(name: str, minimum: int) -> None:
    trace = read_trace(TRACES / f"{name}.csv")
    bounds = Field(minimum, 40)
    exact = replayed(trace, bounds, ReplaySettings(WAIT_2S, 2.0, calm_s=0.0))
    found = replayed(trace, bounds, ReplaySettings(WAIT_2S, 2.0))
    assert found.worker_seconds() == pytest.approx(exact.worker_seconds(), rel=0.06)
    ordered, expected = sorted(found.waits_s), sorted(exact.waits_s)
    assert ordered[int(len(ordered) * 0.95)] == pytest.approx(expected[int(len(ordered) * 0.95)], abs=0.15)


def test_waits_are_in_the_order_of_arrival() -> None:
    found = replayed(
        [Arrival(0.0, 5.0), Arrival(1.0, 1.0), Arrival(9.0, 1.0)], Field(1, 1), ReplaySettings(WAIT_2S, 0.05)
    )
    assert list(found.waits_s) == [0.0, 4.0, 0.0]


def test_the_bounds_change_at_their_times_and_workers_are_counted_in_each_part() -> None:
    bounds = [(0.0, Field(1, 9)), (100.0, Field(5, 9)), (200.0, Field(1, 9))]
    found = replay(array("d", [300.0]), array("d", [1.0]), bounds, ReplaySettings(WAIT_2S, 2.0))
    # Workers count from the beginning of their start; the four stay for the cooldown.
    assert list(zip(found.moments_s, found.counts, strict=True)) == [(0.0, 1), (100.0, 5), (230.0, 1)]
    assert found.worker_seconds(50, 150) == 50 + 5 * 50
    assert found.worker_seconds(120, 130) == 50
    assert found.worker_seconds(220, 400) == 10 * 5 + 130  # it ended at 360
    assert found.worker_seconds(500, 600) == 0
    assert found.worker_seconds() == found.worker_seconds(0, 120) + found.worker_seconds(120, 1000)


def test_a_pool_without_any_worker_ends() -> None:
    found = replay(array("d", [1.0]), array("d", [1.0]), [(0.0, Field(0, 0))], ReplaySettings(WAIT_2S, 0.05))
    assert len(found.waits_s) == 0
