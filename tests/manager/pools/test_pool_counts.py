"""What a pool counts of its workers' lives: starts, the time they took, and the reasons of their ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_manager.pools.pool import Pool, WorkerEvent
from gearman_manager.pools.pool_counts import START_BUCKETS_S, Departure, PoolCounts, StartTimes


def pool_of_one() -> tuple[Pool, str]:
    """A pool with a worker that was ordered at 10 and registered at 10.2 seconds."""
    pool = Pool("p")
    pool.arrange("1")
    pool.target = 1
    name = pool.new_worker(10.0).name
    pool.event(name, WorkerEvent.FORKED, 10.1)
    pool.event(name, WorkerEvent.REGISTERED, 10.2)
    return pool, name


def ends(pool: Pool) -> dict[Departure, int]:
    return {reason: count for reason, count in pool.counts.ended.items() if count}


def drain(pool: Pool, name: str) -> None:
    pool.event(name, WorkerEvent.DRAIN, 20.0)
    pool.event(name, WorkerEvent.EXITED, 20.0)


def worn(pool: Pool, name: str) -> None:
    pool.workers[name].is_worn = True
    drain(pool, name)


def restarted(pool: Pool, name: str) -> None:
    pool.restart()
    drain(pool, name)


def renewed(pool: Pool, name: str) -> None:
    pool.arrange("2")
    drain(pool, name)


def paused(pool: Pool, name: str) -> None:
    pool.pause()
    drain(pool, name)


def killed(pool: Pool, name: str) -> None:
    pool.event(name, WorkerEvent.KILL, 20.0)
    pool.event(name, WorkerEvent.EXITED, 20.0)


def surplus_killed(pool: Pool, name: str) -> None:
    pool.event(name, WorkerEvent.DRAIN, 20.0)
    killed(pool, name)


def crashed(pool: Pool, name: str) -> None:
    pool.crashed(name, 20.0, registered=True, jitter=0.0)


def left(pool: Pool, name: str) -> None:
    pool.event(name, WorkerEvent.EXITED, 20.0)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (drain, Departure.SURPLUS),
        (surplus_killed, Departure.SURPLUS),
        (worn, Departure.WORN),
        (left, Departure.WORN),
        (renewed, Departure.RENEWED),
        (restarted, Departure.RENEWED),
        (paused, Departure.STOPPED),
        (killed, Departure.KILLED),
        (crashed, Departure.CRASHED),
    ],
)
def test_the_end_of_a_worker_counts_with_its_reason(end: Callable[[Pool, str], None], reason: Departure) -> None:
    pool, name = pool_of_one()
    end(pool, name)
    assert ends(pool) == {reason: 1}
    assert pool.counts.started == 1


def test_a_worker_that_never_came_so_far_was_not_started() -> None:
    pool = Pool("p")
    pool.arrange("1")
    pool.event(pool.new_worker(1.0).name, WorkerEvent.EXITED, 2.0)
    pool.crashed(pool.new_worker(1.0).name, 2.0, registered=False, jitter=0.0)
    assert ends(pool) == {Departure.UNSTARTED: 2}
    assert pool.counts.start_times == StartTimes()


def test_the_time_from_order_to_registration_is_kept_as_a_histogram() -> None:
    pool, _ = pool_of_one()
    times = pool.counts.start_times
    assert times.sum_s == pytest.approx(0.2)
    assert times.counts[START_BUCKETS_S.index(0.25)] == sum(times.counts) == 1


def test_changes_of_the_size_count_by_their_direction() -> None:
    counts = PoolCounts()
    counts.resized(1, 3)
    counts.resized(3, 2)
    counts.resized(2, 2)
    assert (counts.grown, counts.shrunk) == (1, 1)
