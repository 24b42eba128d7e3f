"""A pool's plans, and the life of a worker as a state machine."""

from __future__ import annotations

import itertools

import pytest

from gearman_manager.errors import UnexpectedEvent
from gearman_manager.pools.pool import (
    TRANSITIONS,
    Plan,
    Pool,
    WorkerEvent,
    WorkerState,
    transition,
)


def pool_with(ready: int, *, target: int, version: str = "1") -> Pool:
    pool = Pool("p")
    pool.arrange(version)
    pool.target = target
    for number in range(ready):
        name = pool.new_worker(float(number)).name
        pool.event(name, WorkerEvent.FORKED, 0.0)
        pool.event(name, WorkerEvent.REGISTERED, 0.0)
    return pool


def carry_out(pool: Pool, plan: Plan, *, register: bool = True) -> None:
    """Carry out a plan, with workers that leave as soon as they are told."""
    for name in plan.drain:
        pool.event(name, WorkerEvent.DRAIN, 0.0)
        pool.event(name, WorkerEvent.EXITED, 0.0)
    for _ in range(plan.spawn):
        worker = pool.new_worker(100.0)
        pool.event(worker.name, WorkerEvent.FORKED, 0.0)
        if register:
            pool.event(worker.name, WorkerEvent.REGISTERED, 0.0)


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(WorkerState, WorkerEvent) if pair not in TRANSITIONS],
)
def test_an_event_that_a_state_does_not_allow_is_an_error(state: WorkerState, event: WorkerEvent) -> None:
    with pytest.raises(UnexpectedEvent, match=state.value):
        transition(state, event)


def test_every_living_state_can_end() -> None:
    for state in set(WorkerState) - {WorkerState.DEAD}:
        assert transition(state, WorkerEvent.EXITED) is WorkerState.DEAD


def test_it_spawns_up_to_its_target() -> None:
    assert pool_with(1, target=4).plan(0.0, busy={}).spawn == 3


def test_workers_that_are_starting_count() -> None:
    pool = pool_with(0, target=3)
    pool.new_worker(0.0)
    pool.new_worker(0.0)
    assert pool.plan(0.0, busy={}).spawn == 1


def test_only_idle_workers_are_retired_the_youngest_first() -> None:
    pool = pool_with(4, target=2)
    assert pool.plan(0.0, busy={"p/4": 0}).drain == ("p/3", "p/2")


def test_a_busy_worker_is_not_retired_but_looked_at_again() -> None:
    plan = pool_with(2, target=0).plan(10.0, busy={"p/1": 0, "p/2": 0})
    assert plan.drain == ()
    assert plan.again_at is not None
    assert plan.again_at > 10.0


def test_a_worker_that_has_finished_a_job_since_there_are_too_many_is_retired_though_it_has_another() -> None:
    pool = pool_with(3, target=1)
    assert pool.plan(10.0, busy={"p/1": 7, "p/2": 7, "p/3": 7}).drain == ()
    assert pool.plan(10.1, busy={"p/1": 8, "p/2": 8, "p/3": 7}).drain == ()  # too many for a moment only
    assert pool.plan(10.2, busy={"p/1": 9, "p/3": 7}).drain == ("p/2", "p/1")  # the idle one first


def test_a_surplus_that_was_over_meanwhile_begins_anew() -> None:
    pool = pool_with(2, target=1)
    assert pool.plan(10.0, busy={"p/1": 7, "p/2": 7}).drain == ()
    pool.target = 2
    assert pool.plan(10.1, busy={"p/1": 8, "p/2": 8}) == Plan()
    pool.target = 1
    assert pool.plan(11.0, busy={"p/1": 9, "p/2": 9}).drain == ()


def test_serial_numbers_are_not_reused() -> None:
    pool = pool_with(2, target=0)
    carry_out(pool, pool.plan(0.0, busy={}))
    assert pool.new_worker(0.0).name == "p/3"


def test_a_reload_replaces_all_workers_and_never_falls_below_the_target() -> None:
    pool = pool_with(5, target=5)
    pool.arrange("2")
    for _ in range(50):
        carry_out(pool, pool.plan(0.0, busy={}))
        ready = sum(worker.state is WorkerState.READY for worker in pool.workers.values())
        assert 5 <= ready <= 6
    assert {worker.version for worker in pool.workers.values()} == {"2"}
    assert len(pool.workers) == 5


def test_a_reload_waits_for_a_new_worker_before_an_old_one_leaves() -> None:
    pool = pool_with(2, target=2)
    pool.arrange("2")
    plan = pool.plan(0.0, busy={})
    assert (plan.spawn, plan.drain) == (1, ())
    carry_out(pool, plan, register=False)
    assert pool.plan(0.0, busy={}) == Plan()


def test_a_reload_drains_idle_workers_before_busy_ones() -> None:
    pool = pool_with(2, target=2)
    pool.arrange("2")
    carry_out(pool, pool.plan(0.0, busy={"p/1": 0}))
    assert pool.plan(0.0, busy={"p/1": 0}).drain == ("p/2",)


def test_a_removed_pool_drains_all_its_workers() -> None:
    pool = pool_with(3, target=3)
    pool.remove()
    plan = pool.plan(0.0, busy={"p/1": 0})
    assert (plan.spawn, len(plan.drain)) == (0, 3)


def test_nothing_is_spawned_while_the_back_off_lasts() -> None:
    pool = pool_with(0, target=2)
    pool.crashes.consecutive = 3
    pool.crashes.not_before = 7.0
    assert pool.plan(5.0, busy={}) == Plan(again_at=7.0)
    assert pool.plan(7.0, busy={}).spawn == 2


def test_a_worn_worker_is_replaced_before_it_leaves() -> None:
    pool = pool_with(2, target=2)
    pool.workers["p/1"].is_worn = True
    plan = pool.plan(0.0, busy={})
    assert (plan.spawn, plan.drain) == (1, ())
    carry_out(pool, plan)
    assert pool.plan(0.0, busy={}).drain == ("p/1",)


def test_a_worker_that_leaves_by_itself_is_replaced_but_not_drained() -> None:
    pool = pool_with(1, target=1)
    pool.workers["p/1"].is_worn = pool.workers["p/1"].leaves_alone = True
    carry_out(pool, pool.plan(0.0, busy={"p/1": 0}))
    assert pool.plan(0.0, busy={"p/1": 0}) == Plan()
    assert len(pool.workers) == 2


def test_a_paused_pool_drains_all_workers_even_busy_ones_and_starts_none() -> None:
    pool = pool_with(2, target=4)
    pool.pause()
    plan = pool.plan(0.0, busy={"p/1": 0})
    assert (plan.spawn, set(plan.drain)) == (0, {"p/1", "p/2"})


# --- under a budget, which the pool's ceiling stands for


def test_under_a_ceiling_no_worker_starts_beside_those_that_leave() -> None:
    pool = pool_with(3, target=4)
    pool.ceiling = 4
    pool.event("p/1", WorkerEvent.DRAIN, 0.0)
    assert pool.plan(0.0, busy={}).spawn == 1
    pool.ceiling = 3
    assert pool.plan(0.0, busy={}) == Plan()


def test_under_a_ceiling_a_worker_is_replaced_once_it_has_gone() -> None:
    pool = pool_with(3, target=3)
    pool.ceiling = 3
    pool.arrange("2")
    (leaving,) = pool.plan(0.0, busy={"p/1": 0, "p/2": 0}).drain
    assert leaving == "p/3"
    pool.event(leaving, WorkerEvent.DRAIN, 0.0)
    pool.target = 2  # as the allotment counts a worker that leaves
    assert pool.plan(0.0, busy={"p/1": 0, "p/2": 0}) == Plan()
    pool.event(leaving, WorkerEvent.EXITED, 0.0)
    pool.target = 3
    plan = pool.plan(0.0, busy={"p/1": 0, "p/2": 0})
    assert plan == Plan(spawn=1)
    carry_out(pool, plan, register=False)
    assert pool.plan(0.0, busy={"p/1": 0, "p/2": 0}) == Plan()
    pool.event("p/4", WorkerEvent.REGISTERED, 0.0)
    assert pool.plan(0.0, busy={"p/1": 0, "p/2": 0}).drain == ("p/1",)


def test_under_a_ceiling_no_other_worker_leaves_while_there_is_no_room_for_the_last_ones_replacement() -> None:
    pool = pool_with(3, target=3)
    pool.ceiling = pool.share = 3
    pool.arrange("2")
    assert pool.plan(0.0, busy={}).drain == ("p/1",)
    pool.event("p/1", WorkerEvent.EXITED, 0.0)
    pool.target = pool.ceiling = 2
    assert pool.plan(0.0, busy={}) == Plan()
    pool.target = pool.ceiling = 3
    assert pool.plan(0.0, busy={}) == Plan(spawn=1)


def test_under_a_ceiling_a_reload_ends_with_new_workers_only() -> None:
    pool = pool_with(20, target=20)
    pool.ceiling = 20
    pool.arrange("2")
    for _ in range(40):
        assert len(pool.workers) >= 18
        carry_out(pool, pool.plan(0.0, busy={}))
    assert [worker.version for worker in pool.workers.values()] == ["2"] * 20


def test_under_a_ceiling_a_worker_that_leaves_by_itself_is_waited_for() -> None:
    pool = pool_with(2, target=2)
    pool.ceiling = 2
    pool.workers["p/1"].is_worn = pool.workers["p/1"].leaves_alone = True
    pool.workers["p/2"].is_worn = True
    assert pool.plan(0.0, busy={}) == Plan()
    pool.event("p/1", WorkerEvent.EXITED, 0.0)
    assert pool.plan(0.0, busy={}).spawn == 1


def test_a_pool_says_how_many_workers_it_would_start_on_top() -> None:
    pool = pool_with(16, target=16)
    assert pool.renewing == 0
    pool.workers["p/1"].is_worn = True
    assert pool.renewing == 2
