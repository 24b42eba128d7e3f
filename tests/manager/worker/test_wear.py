"""A worker that reaches a limit reports it once, early enough for a replacement."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gearman_manager.host.memory import private_bytes
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter, Wear
from gearman_manager.worker.order import Order
from gearman_manager.worker.wear import MemoryGauge, WearLimits

UNLIMITED = Order("mail/1", "gm:host/mail/1", 0, (), (), max_jobs=None, max_memory_bytes=None, nice=0)
TERABYTE = 1 << 40
GROWTH_BYTES = 32 << 20


class Told:
    """The supervisor's side of scoreboard and doorbell."""

    def __init__(self) -> None:
        self._scoreboard = Scoreboard.create(1)
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.slot = SlotWriter(self._scoreboard, 0)
        self.slot.claim(os.getpid())

    @property
    def wear(self) -> Wear:
        return self._scoreboard.read(0).wear

    @property
    def rings(self) -> int:
        try:
            return os.eventfd_read(self.doorbell)
        except BlockingIOError:
            return 0

    def limits(self, **limits: int) -> WearLimits:
        return WearLimits(replace(UNLIMITED, **limits), self.slot, self.doorbell)  # type: ignore[arg-type]

    def close(self) -> None:
        os.close(self.doorbell)
        os.close(self._scoreboard.descriptor)


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.close()


def run_jobs(limits: WearLimits, count: int) -> None:
    for _ in range(count):
        limits.before_job()
        limits.after_job()


def test_without_limits_nothing_is_reported(told: Told) -> None:
    limits = told.limits()
    run_jobs(limits, 1000)
    assert (told.wear, told.rings, limits.jobs_left) == (Wear.NONE, 0, None)


def test_the_last_tenth_of_its_jobs_is_reported(told: Told) -> None:
    limits = told.limits(max_jobs=20)
    run_jobs(limits, 17)
    assert told.wear is Wear.NONE
    run_jobs(limits, 1)
    assert (told.wear, told.rings, limits.jobs_left) == (Wear.LAST_JOBS, 1, 2)


def test_the_jobs_of_one_call_count_each_and_are_reported_once(told: Told) -> None:
    limits = told.limits(max_jobs=20)
    limits.before_jobs(17)
    assert (told.wear, limits.jobs_left) == (Wear.NONE, 3)
    limits.before_jobs(2)
    limits.before_jobs(100)
    assert (told.wear, told.rings, limits.jobs_left) == (Wear.LAST_JOBS, 1, 0)


def test_no_jobs_are_left_after_the_last(told: Told) -> None:
    limits = told.limits(max_jobs=1)
    run_jobs(limits, 1)
    assert (told.wear, limits.jobs_left) == (Wear.LAST_JOBS, 0)


def test_used_up_memory_is_reported_once(told: Told) -> None:
    limits = told.limits(max_memory_bytes=1)
    run_jobs(limits, 3)
    assert (told.wear, told.rings) == (Wear.MEMORY, 1)


def test_memory_below_the_limit_is_not_reported(told: Told) -> None:
    run_jobs(told.limits(max_memory_bytes=TERABYTE), 3)
    assert told.wear is Wear.NONE


def test_a_stuck_job_is_reported(told: Told) -> None:
    told.limits().has_stuck_job()
    assert (told.wear, told.rings) == (Wear.STUCK_JOB, 1)


def test_growth_is_noticed_while_an_exact_reading_is_still_trusted() -> None:
    gauge = MemoryGauge(private_bytes() + GROWTH_BYTES)
    assert not gauge.is_over(0.0)
    with mmap.mmap(-1, 2 * GROWTH_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * 2 * GROWTH_BYTES)
        assert gauge.is_over(0.001)
