"""A pool's life: its methods reach every transition of the table, and every other event is refused."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest

from gearman_manager.errors import UnexpectedEvent
from gearman_manager.pools import pool_state
from gearman_manager.pools.pool import Pool, WorkerEvent
from gearman_manager.pools.pool_state import LEAVING, TRANSITIONS, PoolEvent, PoolState

S, E = PoolState, PoolEvent
Do = Callable[[Pool], object]


def hire(pool: Pool) -> str:
    """Add a registered worker."""
    name = pool.new_worker(0.0).name
    pool.event(name, WorkerEvent.FORKED, 0.0)
    pool.event(name, WorkerEvent.REGISTERED, 0.0)
    return name


def lose_at_start(pool: Pool, now: float = 0.0) -> None:
    """Let a worker die before it registers. If others serve that slows the pool down, otherwise it fails."""
    pool.crashed(pool.new_worker(now).name, now, registered=False, jitter=0.5)


def in_state(state: PoolState, *, workers: int) -> Pool:
    """A pool in this state, with this many registered workers."""
    pool = Pool("p")
    if state is S.ABSENT:
        return pool
    pool.arrange("1")
    if state is S.FAILING:
        lose_at_start(pool)
        if workers:
            pool.new_worker(0.0)  # the next attempt
        return pool
    if state is S.BACKING_OFF and not workers:
        only = hire(pool)
        lose_at_start(pool)
        pool.event(only, WorkerEvent.EXITED, 0.0)
        return pool
    if state is S.RETIRING and not workers:
        pool.new_worker(0.0)  # without workers the pool would be absent at once
    for _ in range(workers):
        hire(pool)
    steps: dict[PoolState, Do] = {
        S.RUNNING: lambda pool: None,
        S.BACKING_OFF: lose_at_start,
        S.PAUSED: Pool.pause,
        S.RETIRING: Pool.remove,
        S.STOPPING: Pool.stop,
    }
    steps[state](pool)
    return pool


def empty(pool: Pool) -> None:
    """Let all workers leave, one after the other."""
    if not pool.workers:
        pool.event(pool.new_worker(0.0).name, WorkerEvent.EXITED, 0.0)
    for name in list(pool.workers):
        pool.event(name, WorkerEvent.EXITED, 0.0)


#: For each event the number of registered workers that it needs, and the call that causes it in the product.
BY_METHOD: dict[PoolEvent, tuple[int, Do]] = {
    E.ARRANGED: (1, lambda pool: pool.arrange(pool.version)),
    E.REMOVED: (1, Pool.remove),
    E.RENEWED: (1, Pool.restart),
    E.PAUSED: (1, Pool.pause),
    E.RESUMED: (1, Pool.resume),
    E.REGISTERED: (0, hire),
    E.SLOWED: (1, lose_at_start),
    E.FAILED: (0, lambda pool: pool.refused("no descriptors", 1.0)),
    E.CALMED: (1, lambda pool: pool.tick(1e6)),
    E.EMPTIED: (1, empty),
    E.STOPPED: (1, Pool.stop),
}


@pytest.mark.parametrize(("state", "event", "then"), [(*pair, then) for pair, then in TRANSITIONS.items()])
def test_the_pool_makes_every_allowed_transition(state: PoolState, event: PoolEvent, then: PoolState) -> None:
    workers, do = BY_METHOD[event]
    pool = in_state(state, workers=workers)
    assert pool.state is state
    do(pool)
    assert pool.state is then


DISALLOWED = [pair for pair in itertools.product(PoolState, PoolEvent) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "event"), DISALLOWED)
def test_an_event_that_a_state_does_not_allow_is_an_error(state: PoolState, event: PoolEvent) -> None:
    with pytest.raises(UnexpectedEvent, match=f"a pool that is {state.value} can't be {event.value}"):
        pool_state.transition(state, event)


REFUSED_METHODS = [
    (state, event) for state, event in DISALLOWED if event in (E.REMOVED, E.RENEWED, E.PAUSED, E.RESUMED, E.STOPPED)
]


@pytest.mark.parametrize(("state", "event"), REFUSED_METHODS)
def test_a_refused_event_changes_nothing_in_the_pool(state: PoolState, event: PoolEvent) -> None:
    pool = in_state(state, workers=1)
    before = copy.deepcopy(vars(pool))
    with pytest.raises(UnexpectedEvent):
        BY_METHOD[event][1](pool)
    assert vars(pool) == before


@pytest.mark.parametrize("state", sorted(LEAVING - {S.ABSENT}, key=str))
def test_in_states_in_which_workers_leave_none_start(state: PoolState) -> None:
    pool = in_state(state, workers=2)
    pool.target = 4
    plan = pool.plan(0.0, busy={"p/1": 0})
    assert (plan.spawn, set(plan.drain)) == (0, {"p/1", "p/2"})


def test_a_pool_is_calm_only_after_a_quiet_time_and_its_crashes_are_forgotten_then() -> None:
    pool = in_state(S.BACKING_OFF, workers=1)
    calm_at = pool.tick(1.0)
    assert calm_at is not None
    assert pool.tick(calm_at - 0.001) == calm_at
    assert pool.state is S.BACKING_OFF
    assert pool.tick(calm_at) is None
    assert pool.state is S.RUNNING
    assert pool.crashes.consecutive == 0


def test_a_failing_pool_does_not_recover_by_time_alone() -> None:
    pool = in_state(S.FAILING, workers=0)
    assert pool.tick(1e6) is None
    assert pool.state is S.FAILING


def test_new_code_makes_the_crashes_of_a_failing_pool_forgotten() -> None:
    pool = in_state(S.FAILING, workers=0)
    pool.target = 1
    for _ in range(5):
        lose_at_start(pool)
    assert pool.is_hopeless
    assert pool.plan(0.1, busy={}).spawn == 0
    pool.arrange("2")
    assert pool.state is S.RUNNING
    assert pool.plan(0.1, busy={}).spawn == 1


def test_after_a_pause_crashes_are_forgotten() -> None:
    pool = in_state(S.FAILING, workers=0)
    pool.target = 1
    for _ in range(5):
        lose_at_start(pool)
    pool.pause()
    pool.resume()
    assert pool.plan(0.1, busy={}).spawn == 1


def test_a_refusal_of_the_system_is_no_crash_but_causes_a_wait() -> None:
    pool = in_state(S.RUNNING, workers=0)
    pool.target = 1
    pool.refused("too many open files", 1.0)
    assert (pool.state, pool.last_error, pool.is_hopeless) == (S.FAILING, "too many open files", False)
    assert pool.plan(0.5, busy={}).spawn == 0
    assert pool.plan(1.0, busy={}).spawn == 1


def test_a_removed_pool_without_workers_is_gone_at_once_and_may_come_back() -> None:
    pool = in_state(S.RUNNING, workers=0)
    pool.remove()
    assert pool.state is S.ABSENT
    pool.arrange("1")
    assert pool.state is S.RUNNING
