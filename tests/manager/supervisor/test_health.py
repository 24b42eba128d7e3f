"""When a manager counts as up, and the line on its health."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gearman_manager.pools.pool import Pool, WorkerEvent
from gearman_manager.supervisor.health import Health, health_of

SERVERS: dict[str, bool | None] = {"a:4730": True}


def pool(name: str, *, target: int, registered: int = 0) -> Pool:
    """A pool with this target and this many registered workers."""
    made = Pool(name)
    made.arrange("1")
    made.target = target
    for _ in range(registered):
        worker = made.new_worker(0.0)
        made.event(worker.name, WorkerEvent.FORKED, 0.0)
        made.event(worker.name, WorkerEvent.REGISTERED, 0.0)
    return made


def standing(
    *pools: tuple[Pool, int], servers: dict[str, bool | None] = SERVERS, busy: int = 0, trouble: str = ""
) -> Health:
    return health_of(pools, {"any": busy}, servers, {"a:4730": trouble} if trouble else {})


def failing() -> Pool:
    made = pool("bad", target=1)
    for _ in range(5):
        worker = made.new_worker(0.0)
        made.event(worker.name, WorkerEvent.FORKED, 0.0)
        made.crashed(worker.name, 0.0, registered=False, jitter=0.5)
    return made


def paused() -> Pool:
    made = pool("paused", target=2)
    made.pause()
    return made


@pytest.mark.parametrize(
    ("pools", "servers", "is_up"),
    [
        ((), SERVERS, True),
        (((pool("p", target=2, registered=1), 2),), SERVERS, False),
        (((pool("p", target=2, registered=2), 2),), SERVERS, True),
        (((pool("p", target=8, registered=2), 2),), SERVERS, True),  # the growth beyond `min` does not matter
        (((pool("p", target=1, registered=1), 2),), SERVERS, True),  # limits.max_workers holds
        (((pool("p", target=0), 0),), SERVERS, True),
        (((failing(), 1), (pool("p", target=1, registered=1), 1)), SERVERS, True),
        (((failing(), 1), (pool("p", target=1), 1)), SERVERS, False),
        (((paused(), 2),), SERVERS, True),
        (((pool("p", target=1), 1),), {"a:4730": False, "b:4730": False}, True),
        (((pool("p", target=1), 1),), {"a:4730": False, "b:4730": None}, False),
        (((pool("p", target=1), 1),), {"a:4730": False, "b:4730": True}, False),
        (((pool("p", target=1), 1),), {}, False),
        (((pool("p", target=1, registered=1), 1),), {"a:4730": None}, False),
        (((pool("p", target=1, registered=1), 1),), {"a:4730": None, "b:4730": False}, False),
        (((pool("p", target=1, registered=1), 1),), {"a:4730": None, "b:4730": True}, True),
    ],
)
def test_it_is_up_once_no_worker_is_missing_that_can_still_register(
    pools: tuple[tuple[Pool, int], ...], servers: dict[str, bool | None], is_up: bool
) -> None:
    assert standing(*pools, servers=servers).is_up is is_up


def test_the_text_names_the_problems() -> None:
    fine = standing((pool("p", target=1, registered=1), 1), busy=1)
    assert fine.text == "1 worker in 1 pool, 1 busy"
    not_fine = standing((failing(), 1), (pool("late", target=2), 2), servers={"a:4730": False, "b:4730": True})
    assert not_fine.text == (
        "0 workers in 2 pools, 0 busy; starting: late; failing: bad; no answer from job server: a:4730"
    )


def test_all_is_well_while_pools_and_job_servers_can_do_all_of_their_work() -> None:
    well = (pool("p", target=2, registered=1), 2)
    assert standing(well).is_healthy
    assert not standing(well, (failing(), 1)).is_healthy
    assert not standing(well, servers={"a:4730": True, "b:4730": False}).is_healthy
    unheard = standing(well, servers={"a:4730": True, "b:4730": None})
    assert (unheard.is_healthy, unheard.text.endswith("; no answer yet from job server: b:4730")) == (False, True)
    troubled = standing(well, trouble="the store jobs.db fails: disk full")
    assert not troubled.is_healthy
    assert troubled.text.endswith("; job server a:4730 is in trouble: the store jobs.db fails: disk full")


def test_a_drain_is_named_first_and_is_no_fault() -> None:
    draining = replace(standing((pool("p", target=1, registered=1), 1), busy=1), drain="draining: 1 job left")
    assert (draining.text, draining.is_healthy) == ("draining: 1 job left; 1 worker in 1 pool, 1 busy", True)
