"""Counts and durations of the jobs of one function and priority. Pure.

Counting is on the path of every job, so it is done in place, without an event, and only if somebody reads the numbers:
otherwise `Function.counts` is None.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

#: Upper bounds of the histograms' buckets, in seconds: so many that a percentile can be told from them.
BUCKETS_S: Final[tuple[float, ...]] = (
    *(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    *(5.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0),
)
COUNTERS: Final = (
    "submitted",
    "coalesced",
    "started",
    "completed",
    "failed",
    "timed_out",
    "retried",
    "throttled",
    "dropped",
    "expired",
    "stopped",
)


class Durations:
    """A histogram of seconds, and of each bucket the last job: its handle, its duration, and when it was counted."""

    __slots__ = ("counts", "last", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.last: list[tuple[bytes, float, float] | None] = [None] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float, handle: bytes, now: float) -> None:
        """Count the duration of one job."""
        bucket = bisect_left(BUCKETS_S, duration_s)
        self.counts[bucket] += 1
        self.last[bucket] = (handle, duration_s, now)
        self.sum_s += duration_s


class JobCounts:
    """How the jobs of one function and priority fared."""

    __slots__ = (*COUNTERS, "ran", "waited")

    def __init__(self) -> None:
        for name in COUNTERS:
            setattr(self, name, 0)
        self.waited = Durations()
        self.ran = Durations()

    submitted: int
    coalesced: int
    started: int
    completed: int
    failed: int
    timed_out: int
    retried: int
    throttled: int
    dropped: int
    expired: int
    stopped: int

    def note_start(self, waited_s: float, handle: bytes, now: float) -> None:
        """A job was given to a worker."""
        self.started += 1
        self.waited.add(waited_s, handle, now)

    def note_completion(self, ran_s: float, handle: bytes, now: float) -> None:
        """A job ended with a result."""
        self.completed += 1
        self.ran.add(ran_s, handle, now)

    def note_failure(self, ran_s: float, handle: bytes, now: float) -> None:
        """A job's worker reported a failure, and it was the last attempt."""
        self.failed += 1
        self.ran.add(ran_s, handle, now)

    @property
    def is_used(self) -> bool:
        """Whether any job was counted."""
        return any(getattr(self, name) for name in COUNTERS)
