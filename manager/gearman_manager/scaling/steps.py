"""Decides how many workers a pool should have, in three pure steps: demand → share → pace.

Demand is the number of workers that the work needs. Share is this manager's part of it, within the pool's bounds. Pace
decides when the number may change: up at once, down only after the demand has been lower for the whole cooldown.
`PoolScaler` takes one pool through them; `allotment` shares out the workers that all pools may have together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from gearman_manager.scaling.decision import Limit, Reckoning, Step
from gearman_process.values.durations import format_duration

UNKNOWN_SERVICE_S: Final = 1.0
_WEIGHT_OF_A_JOB: Final = 0.1  #: the mean follows a change of the service time within some twenty jobs


@dataclass(frozen=True, slots=True)
class Work:
    """A pool's work, over all its functions and job servers."""

    queued: int = 0
    running: int = 0
    jobs_per_worker: int = 1  #: that one worker runs at once
    is_late: bool = False  #: jobs wait longer than the service time predicts


class Strategy(Protocol):
    """The keys of a pool's `scale` section that concern demand."""

    @property
    def target_wait_s(self) -> float | None: ...
    @property
    def backlog_per_worker(self) -> float | None: ...
    @property
    def utilisation(self) -> float | None: ...


class ScaleSettings(Strategy, Protocol):
    """The whole `scale` section; `idle_s` only if the pool may go to zero."""

    @property
    def cooldown_s(self) -> float: ...
    @property
    def idle_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Field:
    """The other managers and workers for the same functions, and this manager's bounds for the pool."""

    minimum: int
    maximum: int
    managers: int = 1
    rank: int = 0  #: of this manager among them, from 0
    foreign_workers: int = 0  #: registered workers that belong to no manager
    minimum_by: Limit | None = None  #: what the minimum comes from, if not from the pool's `min`
    maximum_by: Limit | None = None  #: the same for the maximum


def demand(work: Work, strategy: Strategy, service_s: float | None) -> int:
    """The workers that the work needs, on all machines together; `service_s` is a job's mean time, None if unknown."""
    if strategy.utilisation:
        slots = (work.queued + work.running) / strategy.utilisation
    elif strategy.backlog_per_worker:
        slots = max(work.running, work.queued / strategy.backlog_per_worker)
    else:
        slots = work.running + _slots_for_target_wait(work, expected_wait_s(strategy), service_s)
    # The subtraction hides rounding errors of floats; even the shortest job needs one worker.
    return max(math.ceil(slots / work.jobs_per_worker - 1e-9), min(1, work.queued + work.running))


def expected_wait_s(strategy: Strategy) -> float:
    """The wait to plan for: half of `target_wait`, since some jobs take longer than the mean."""
    return (strategy.target_wait_s or UNKNOWN_SERVICE_S) / 2


def _slots_for_target_wait(work: Work, wait_s: float, service_s: float | None) -> float:
    """The slots that are missing to start all waiting jobs within the wait.

    In that time a busy worker starts `wait ÷ service` jobs on average and a new one starts one more. A formula in which
    busy workers don't help (running + queued * service ÷ wait) would feed itself: each new worker is soon a busy one,
    so every pool would grow to its `max`, whatever the target.
    Late jobs, however, wait behind longer ones; then busy workers don't count.
    """
    starts = wait_s / max(UNKNOWN_SERVICE_S if service_s is None else service_s, 1e-6)
    if work.is_late:
        return work.queued / (starts + 1)
    return max(0.0, work.queued - work.running * starts) / (starts + 1)


def rule_of(strategy: Strategy) -> str:
    """What the demand is computed for, as a sentence has it: "2 s of waiting"."""
    if strategy.utilisation:
        return f"a utilisation of {strategy.utilisation * 100:g} %"
    if strategy.backlog_per_worker:
        plural = "" if strategy.backlog_per_worker == 1 else "s"
        return f"{strategy.backlog_per_worker:g} waiting job{plural} per worker"
    duration = format_duration(strategy.target_wait_s or UNKNOWN_SERVICE_S)
    number = duration.rstrip("dhms")
    return f"{number} {duration.removeprefix(number)} of waiting"


def take_share(reckoning: Reckoning, others: Field) -> None:
    """This manager's part of the demand: divided evenly, the remainder by rank."""
    foreign, managers = others.foreign_workers, max(1, others.managers)
    if foreign:
        text = f"{foreign} foreign worker{'s take' if foreign > 1 else ' takes'} jobs too"
        reckoning.to(max(0, reckoning.size - foreign), Limit("foreign workers", text))
    if managers > 1:
        part, remainder = divmod(reckoning.size, managers)
        reckoning.to(part + (others.rank < remainder), Limit("managers", f"shared by {managers} managers"))


def keep_within(reckoning: Reckoning, bounds: Field) -> None:
    """Raise the size to the pool's minimum, or lower it to its maximum."""
    if reckoning.size > bounds.maximum:
        limit = bounds.maximum_by or Limit("max", f"max {bounds.maximum} holds")
        reckoning.to(bounds.maximum, limit)
    if reckoning.size < bounds.minimum:
        limit = bounds.minimum_by or Limit("min", f"min {bounds.minimum} holds")
        reckoning.to(bounds.minimum, limit)


@dataclass(slots=True)
class Pace:
    """The memory of the last step: the wanted sizes, largest first, each with the last moment it was wanted."""

    cooldown_s: float
    #: How long the last worker stays when none is wanted; None: no longer than any other.
    idle_s: float | None = None
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _needed_until: float | None = None  #: when a worker was last wanted; None once the pool may be empty

    def size(self, now: float, wanted: int) -> int:
        """The size to have now: the largest one wanted within the cooldown; 0 only after `idle_s` without a wish.

        This is a sliding-window maximum: a later and larger wish removes smaller ones, so the memory is bounded by the
        number of different sizes. A wish holds until the next one, however much later that comes.
        """
        if self._wanted:
            self._note(now, self._wanted[-1][1])
        self._note(now, wanted)
        while len(self._wanted) > 1 and self._wanted[0][0] + self.cooldown_s <= now:
            self._wanted.popleft()
        size = self._wanted[0][1]
        if self.idle_s is None or wanted:
            return size
        if self._needed_until is not None and now < self._needed_until + self.idle_s:
            return max(size, 1)
        self._wanted.clear()
        self._wanted.append((now, 0))
        self._needed_until = None
        return 0

    def next_change(self) -> float | None:
        """The next time at which the size may fall if nothing else happens."""
        moments = [self._wanted[0][0] + self.cooldown_s] if len(self._wanted) > 1 else []
        if self.idle_s is not None and self._needed_until is not None and self._wanted[-1][1] == 0:
            moments.append(self._needed_until + self.idle_s)
        return min(moments, default=None)

    @property
    def limit(self) -> Limit:
        """What keeps the size above the wanted one."""
        until = self.next_change()
        if self._wanted[0][1]:
            return Limit("cooldown", "the cooldown holds", until=until)
        return Limit("idle", "idle keeps the last worker", until=until)

    def _note(self, now: float, wanted: int) -> None:
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((now, wanted))
        if wanted:
            self._needed_until = now


@dataclass(slots=True)
class ServiceTime:
    """The exponentially weighted mean of a job's time, from the scoreboard's counters."""

    value_s: float | None = None
    jobs: int = 0  #: finished so far
    _busy_ns: int = 0

    def update(self, jobs: int, busy_ns: int) -> None:
        """Take in the totals so far: finished jobs and the time spent in them. Totals that shrank count from now on.

        Each job weighs the same, however often this is called.
        """
        new_jobs, new_busy_ns = jobs - self.jobs, busy_ns - self._busy_ns
        self.jobs, self._busy_ns = jobs, busy_ns
        if new_jobs <= 0 or new_busy_ns < 0:
            return
        mean_s = new_busy_ns / new_jobs / 1e9
        weight = 1 - (1 - _WEIGHT_OF_A_JOB) ** new_jobs
        self.value_s = mean_s if self.value_s is None else self.value_s + weight * (mean_s - self.value_s)


@dataclass(slots=True)
class Lateness:
    """Watches whether the queue moves as planned: waiting jobs should be served within the expected wait."""

    _since: float = 0.0
    _queued: int = 0  #: at that moment; 0 while no job waits
    _finished: int = 0

    def is_late(self, now: float, queued: int, finished: int, wait_s: float) -> bool:
        """Take in the state; returns whether jobs are late. `finished` counts jobs and only grows."""
        if not queued or not self._queued or finished - self._finished >= self._queued:
            self._since, self._queued, self._finished = now, queued, finished
        return queued > 0 and now >= self._since + wait_s

    def next_change(self, now: float, wait_s: float) -> float | None:
        """The time at which jobs will be late if nothing else happens."""
        at = self._since + wait_s
        return at if self._queued and now < at else None


class PoolScaler:
    """Takes one pool through the three steps, and keeps their memory."""

    def __init__(self, settings: ScaleSettings) -> None:
        self.service = ServiceTime()
        self.next_change: float | None = None  # when to call `size` again if nothing else happens
        self._settings = settings
        self._rule = rule_of(settings)
        self._pace = Pace(settings.cooldown_s, settings.idle_s)
        self._lateness = Lateness()

    def arrange(self, settings: ScaleSettings) -> None:
        """Go on with other settings; service time and wishes are kept."""
        self._settings, self._rule = settings, rule_of(settings)
        self._pace.cooldown_s, self._pace.idle_s = settings.cooldown_s, settings.idle_s

    def size(self, now: float, work: Work, others: Field) -> int:
        """The size to have now."""
        return self.reckon(now, work, others).size

    def reckon(
        self, now: float, work: Work, others: Field, *, notes: Sequence[Limit] = (), kept: Step | None = None
    ) -> Reckoning:
        """The size to have now, and the limits that led to it.

        Args:
            notes: limits that have already lowered the work.
            kept: the size to keep, and why, while a job server can't be reached: the work on the other servers is then
                only a part of the whole, a reason to grow but not to shrink.
        """
        wait_s = expected_wait_s(self._settings)
        if self._lateness.is_late(now, work.queued, self.service.jobs, wait_s):
            work = replace(work, is_late=True)
        wanted = demand(work, self._settings, self.service.value_s)
        # The other rules do not plan a wait.
        is_late = work.is_late and not (self._settings.backlog_per_worker or self._settings.utilisation)
        reckoning = Reckoning(wanted, self._rule, is_late)
        for limit in notes:
            reckoning.note(limit)
        take_share(reckoning, others)
        keep_within(reckoning, others)
        if kept is not None:
            reckoning.to(max(reckoning.size, kept.size), kept.limit)
            keep_within(reckoning, others)
        size = self._pace.size(now, reckoning.size)
        if size > reckoning.size:
            reckoning.to(size, self._pace.limit)
        keep_within(reckoning, others)
        moments = (self._pace.next_change(), self._lateness.next_change(now, wait_s))
        self.next_change = min((moment for moment in moments if moment is not None), default=None)
        return reckoning
