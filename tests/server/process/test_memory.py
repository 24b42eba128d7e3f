"""Cyclic garbage is collected while there are few objects to look at, and after a limited time in any case."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from itertools import count

import gevent
import pytest

from gearman_server.process import memory
from gearman_server.process.memory import WORTH_CONTAINERS, GarbageCollection

PATIENCE_S = 20


class Ring:
    def __init__(self) -> None:
        self.itself = self


class Jobs:
    """The number of jobs for the collector; counts how often it was asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        return self.number


@pytest.fixture
def collect_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Jobs]]:
    """Replaces Python's collector by ours, with checks in quick succession, as if there were this number of jobs."""
    collections = []
    monkeypatch.setattr(memory, "COLLECT_EVERY_S", 0.01)

    def start(number: int) -> Jobs:
        jobs = Jobs(number)
        collections.append(GarbageCollection(gevent.get_hub().loop, jobs))
        return jobs

    yield start
    for collection in collections:
        collection.close()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def leave_garbage() -> weakref.ReferenceType[Ring]:
    # Twice as much as is worth a collection: each older object that is freed meanwhile counts as one less.
    rings = [Ring() for _ in range(2 * WORTH_CONTAINERS)]
    return weakref.ref(rings[0])


def wait_until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(PATIENCE_S):
        while not condition():
            gevent.sleep(0.01)


def test_garbage_is_collected_while_there_are_few_jobs(collect_for: Callable[..., Jobs]) -> None:
    collect_for(10)
    ring = leave_garbage()
    assert ring() is not None
    wait_until(lambda: ring() is None)


def test_with_many_jobs_the_collection_waits_until_there_are_fewer(collect_for: Callable[..., Jobs]) -> None:
    jobs = collect_for(1_000_000)
    ring = leave_garbage()
    wait_until(lambda: jobs.looks >= 3)
    assert ring() is not None
    jobs.number = 0
    wait_until(lambda: ring() is None)


def test_the_collection_does_not_wait_for_ever(
    collect_for: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LONGEST_S", 0.05)
    collect_for(1_000_000)
    ring = leave_garbage()
    wait_until(lambda: ring() is None)


def test_without_garbage_the_collector_does_not_run(
    collect_for: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    runs: list[str] = []

    def look() -> float:
        looks.append(None)
        return 0.0

    monkeypatch.setattr(memory, "monotonic", look)
    collect_for(0)
    gc.callbacks.append(lambda phase, _info: runs.append(phase))
    try:
        wait_until(lambda: len(looks) > 5)
    finally:
        gc.callbacks.pop()
    assert runs == []


def test_a_long_collection_is_rarely_repeated(
    collect_for: Callable[..., Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock advances a second with each look: a collection seems to take one, and may take 1 % of the time."""
    seconds, runs = count(), []
    monkeypatch.setattr(memory, "monotonic", lambda: float(next(seconds)))
    collect_for(0)
    gc.callbacks.append(lambda phase, _info: runs.append(next(seconds)) if phase == "start" else None)
    try:
        rings = leave_garbage()
        wait_until(lambda: rings() is None)
        rings = leave_garbage()
        wait_until(lambda: rings() is None)
    finally:
        gc.callbacks.pop()
    first, second = runs
    assert second - first >= 100
