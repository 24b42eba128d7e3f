"""How many workers a pool should have: three pure steps, demand → share → pace, each a function of its arguments.

Demand says how many workers the work needs, share what of that is this manager's part and what the limits allow, pace
when the number may change: up at once, down only after the demand has been lower for the whole cooldown.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

UNKNOWN_SERVICE_S: Final = 1.0
_EWMA_WEIGHT: Final = 0.3


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do for a pool, over all its functions and job servers."""

    queued: int = 0
    running: int = 0
    service_s: float | None = None  # mean time of a job; None while unknown
    busy: int = 0  # busy workers of this manager


class Strategy(Protocol):
    """The `scale` section of a pool."""

    @property
    def target_wait_s(self) -> float | None: ...
    @property
    def backlog_per_worker(self) -> float | None: ...
    @property
    def utilisation(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Field:
    """Who else works on the same functions, and what bounds this manager."""

    minimum: int
    maximum: int
    managers: int = 1
    rank: int = 0  # this manager's place among them, from 0
    foreign_workers: int = 0  # registered workers that belong to no manager
    headroom: int | None = None  # what the host's guards still allow; None is no limit


def demand(work: Work, strategy: Strategy) -> int:
    """How many workers the work needs, on all machines together."""
    if strategy.backlog_per_worker:
        waiting = work.queued / strategy.backlog_per_worker
    elif strategy.utilisation:
        return math.ceil((work.queued + work.running) / strategy.utilisation - 1e-9)
    else:
        service_s = UNKNOWN_SERVICE_S if work.service_s is None else work.service_s
        waiting = work.queued * service_s / (strategy.target_wait_s or UNKNOWN_SERVICE_S)
    return math.ceil(waiting - 1e-9) + work.running


def share(needed: int, others: Field) -> int:
    """This manager's part of the demand: divided evenly, the remainder by rank, then within the limits."""
    needed = max(0, needed - others.foreign_workers)
    part, remainder = divmod(needed, max(1, others.managers))
    if others.rank < remainder:
        part += 1
    part = max(others.minimum, min(part, others.maximum))
    return part if others.headroom is None else min(part, others.headroom)


@dataclass(slots=True)
class Pace:
    """The memory of the last step: each size with the moment when it was wanted last, falling from left to right."""

    cooldown_s: float
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def size(self, now: float, wanted: int) -> int:
        """The size to have now: the largest that was wanted within the cooldown.

        A sliding-window maximum: what a later and larger wish outlives is dropped, so the memory is bounded by the
        number of different sizes.
        """
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((now, wanted))
        while len(self._wanted) > 1 and self._wanted[0][0] <= now - self.cooldown_s:
            self._wanted.popleft()
        return self._wanted[0][1]

    def next_change(self) -> float | None:
        """When the size may fall next if nothing else happens."""
        return self._wanted[0][0] + self.cooldown_s if len(self._wanted) > 1 else None


@dataclass(slots=True)
class ServiceTime:
    """Exponentially weighted mean of the time a job takes, from the scoreboard's counters."""

    value_s: float | None = None
    _jobs: int = 0
    _busy_ns: int = 0

    def update(self, jobs: int, busy_ns: int) -> None:
        """Take in the totals so far: finished jobs and the time spent in them. Totals that shrank start anew."""
        new_jobs, new_busy_ns = jobs - self._jobs, busy_ns - self._busy_ns
        self._jobs, self._busy_ns = jobs, busy_ns
        if new_jobs <= 0 or new_busy_ns < 0:
            return
        mean_s = new_busy_ns / new_jobs / 1e9
        self.value_s = mean_s if self.value_s is None else self.value_s + _EWMA_WEIGHT * (mean_s - self.value_s)
