"""Points: how two become one, and their form in the file; percentiles of times that were counted in buckets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearman_manager.series.figures import BOUNDS_S, BUCKETS, FUNCTION, POOL, packed, unpacked
from gearman_manager.series.percentiles import percentile_s
from gearman_server.jobs.job_counts import BUCKETS_S
from gearman_server.jobs.job_counts import COUNTERS as COUNTED

POINTS = st.dictionaries(st.integers(0, len(FUNCTION.names) - 1), st.integers(1, 1 << 50))


@settings(deadline=None)
@given(POINTS)
def test_what_is_stored_is_read(point: dict[int, int]) -> None:
    assert unpacked(packed(point)) == point


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_as_some_point(text: bytes) -> None:
    assert all(place >= 0 for place in unpacked(text))


def test_a_point_of_a_busy_minute_is_small() -> None:
    point = FUNCTION.point(submitted=600, started=590, completed=580, failed=7, waiting=30, waited_ms=90_000, ran_ms=1)
    point |= FUNCTION.point(waited_3=400, waited_4=190, ran_2=300, ran_3=200, ran_5=80, oldest_ms=300, waiting_max=12)
    assert len(packed(point)) < 40


def test_the_form_of_another_version_is_no_point() -> None:
    assert unpacked(b"\x02\x00\x01") == unpacked(b"") == {}


def test_two_points_become_one() -> None:
    point = POOL.point(samples=1, done=3, waiting=5, waiting_max=5, limit=7, oldest_ms=100)
    POOL.add(point, POOL.point(samples=1, done=4, waiting=2, waiting_max=2, oldest_ms=300))
    POOL.add(point, POOL.point(limit=9))
    assert point == POOL.point(samples=2, done=7, waiting=7, waiting_max=5, limit=9, oldest_ms=300)


def test_the_job_server_counts_by_the_same_names_and_buckets() -> None:
    assert BOUNDS_S == BUCKETS_S
    assert set(COUNTED) <= set(FUNCTION.names)


def test_percentiles_of_known_times() -> None:
    random.seed(3)
    times = sorted(random.lognormvariate(-1, 1.5) for _ in range(10_000))
    counts = [0] * BUCKETS
    for time_s in times:
        counts[next((at for at, bound in enumerate(BOUNDS_S) if time_s <= bound), len(BOUNDS_S))] += 1
    for share in (0.5, 0.95, 0.99):
        assert percentile_s(counts, share) == pytest.approx(times[int(share * len(times))], rel=0.1)


def test_percentiles_of_none_of_the_shortest_and_of_the_longest_times() -> None:
    assert percentile_s([0] * BUCKETS, 0.5) is None
    assert percentile_s([4] + [0] * (BUCKETS - 1), 0.5) == 0.0005
    assert percentile_s([0] * (BUCKETS - 1) + [4], 0.5) == 7200
