"""How many jobs of a function may be started now: its `max_running` and its `rate`. Pure: the time is handed in.

A rate is exact: no stretch of `per_s` seconds, wherever it begins, has more than `count` starts. It is a bucket of
`count` tokens, each of which comes back `per_s` after it was taken. So after a pause all may be taken at once.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Alarm
    from gearman_server.jobs.policies import Rate


class Throttle:
    """The limits on starting a function's jobs, and the starts that still count."""

    __slots__ = ("_max_running", "_rate", "_starts", "alarm")

    def __init__(self, max_running: int | None, rate: Rate | None, former: Throttle | None = None) -> None:
        """`former` is the throttle until now: its starts still count."""
        self._max_running = max_running
        self._rate = rate
        self._starts: deque[float] = deque(former._starts if former is not None and rate is not None else ())
        #: Rings when sleepers may be woken again; None until that is needed for the first time.
        self.alarm: Alarm | None = None

    def admits(self, running: int, now: float) -> bool:
        """Whether one more job may be started besides the running ones."""
        if self._max_running is not None and running >= self._max_running:
            return False
        return self._rate is None or self._tokens(self._rate, now) > 0

    def room(self, running: int, waiting: int, now: float) -> int:
        """How many of the waiting jobs may be started."""
        if self._max_running is not None:
            waiting = min(waiting, max(0, self._max_running - running))
        return waiting if self._rate is None else min(waiting, max(0, self._tokens(self._rate, now)))

    def note_start(self, now: float) -> None:
        """A job was started."""
        if self._rate is not None:
            self._starts.append(now)

    def forget_start(self, at: float) -> None:
        """The job that was started at that time was given back unbegun."""
        with suppress(ValueError):  # there is no rate, or the start has ceased to count
            self._starts.remove(at)

    def opens_at(self, running: int, now: float) -> float | None:
        """When the rate allows the next start; None if it does now, or if `max_running` forbids it anyway."""
        if self._rate is None or self._tokens(self._rate, now) > 0:
            return None
        if self._max_running is not None and running >= self._max_running:
            return None
        # After a change to a lower rate, more starts may count than it allows.
        return self._starts[len(self._starts) - self._rate.count] + self._rate.per_s

    def _tokens(self, rate: Rate, now: float) -> int:
        starts = self._starts
        while starts and starts[0] + rate.per_s <= now:
            starts.popleft()
        return rate.count - len(starts)
