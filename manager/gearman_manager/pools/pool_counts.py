"""What has happened to a pool's workers since the manager began: starts, ends by reason, changes of size. Pure.

Whoever shows or watches a pool reads it; nothing is decided by it. A pool that comes back goes on where it was.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

#: Upper bounds, in seconds, of the histogram of the times that workers take to start.
START_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0)


class Departure(Enum):
    """Why a worker is no more."""

    CRASHED = "crashed"  #: it died without being told to
    UNSTARTED = "not started"  #: the same, before it had registered, or it could not even be forked
    KILLED = "killed"  #: it broke a limit: a job's timeout, its memory, a report that makes no sense
    WORN = "worn"  #: it had reached its `max_jobs`, `max_memory`, `max_lifetime` or another limit, and was replaced
    RENEWED = "renewed"  #: for other code or settings, or because an operator had the pool restarted
    SURPLUS = "surplus"  #: the pool needs fewer workers
    STOPPED = "stopped"  #: the pool was paused or removed, or the manager ends


@dataclass(slots=True)
class StartTimes:
    """A histogram of seconds, from the order to the registration."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(START_BUCKETS_S) + 1))
    sum_s: float = 0.0

    def add(self, duration_s: float) -> None:
        """Count one start."""
        self.counts[bisect_left(START_BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s


@dataclass(slots=True)
class PoolCounts:
    """The counters of one pool. They never fall."""

    started: int = 0  #: workers that were ordered
    ended: dict[Departure, int] = field(default_factory=lambda: dict.fromkeys(Departure, 0))
    start_times: StartTimes = field(default_factory=StartTimes)
    grown: int = 0  #: how often the scaler made its target larger
    shrunk: int = 0
    #: Of workers that are gone, so that the pool's sums never fall.
    done: int = 0
    failed: int = 0
    busy_ns: int = 0

    def resized(self, before: int, after: int) -> None:
        """The scaler has changed the pool's target."""
        self.grown += after > before
        self.shrunk += after < before
