"""Time limits in a process that runs several jobs: a job that keeps the processor past its limit is interrupted.

The loop ends jobs that wait, and can't while one of them computes and lets no other run. A signal (SIGALRM) comes a
moment after the limit then, and raises JobTimeout in that job alone, but never in our own code that the job calls.

A stop is the same with JobStopped: the supervisor marks in the job's slot that it is to stop, and sends the signal. The
limit of the job is over then.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from math import inf
from time import monotonic
from types import FrameType, TracebackType
from typing import ClassVar, Final

from gearman_client.errors import JobStopped
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.scoreboard import SlotWriter

#: So long after the limit the loop counts as blocked; it is checked again at this interval.
BLOCKED_S: Final = 0.1


class Limit:
    """The limit of one job. `with limit:` suspends it, for our own code that user code calls."""

    __slots__ = ("_is_suspended", "clean_up_s", "deadline", "error", "is_raised", "slot")

    #: Whichever job is to stop, its greenlet or task has to be known.
    watches_all: ClassVar = True

    def __init__(self, slot: SlotWriter, clean_up_s: float) -> None:
        self._is_suspended = False
        #: That of the job.
        self.slot = slot
        #: How long the function may clean up.
        self.clean_up_s = clean_up_s
        #: JobTimeout, or JobStopped if the job is to stop.
        self.error: type[BaseException] = JobTimeout
        #: Monotonic.
        self.deadline = inf
        #: Whether the job was interrupted already, or has ended.
        self.is_raised = False

    def interrupt(self) -> None:
        """Interrupt the job. The alarm calls this in a job that keeps the processor.

        Raises:
            JobTimeout, JobStopped: once, and not while suspended.
        """
        if not self.is_raised and not self._is_suspended:
            self.is_raised = True
            raise self.error

    def look_for_stop(self) -> bool:
        """Whether the job is to stop, as it has to be told only now."""
        until_ns = self.slot.stop_until_ns
        if not until_ns or self.error is JobStopped:
            return False
        self.error, self.deadline = JobStopped, monotonic()
        self.clean_up_s = max(0.0, until_ns / 1e9 - self.deadline)
        return True

    def expire(self) -> None:
        """Have the loop interrupt the job: its time is over. Called by a signal's handler."""

    def __enter__(self) -> None:
        self._is_suspended = True

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._is_suspended = False


class BlockingJobs:
    """One per process: it owns SIGALRM and the real-time interval timer."""

    def __init__(self, current: Callable[[], Limit | None]) -> None:
        """`current` gives the limit of the job that has the processor; None: the loop has it."""
        self._current = current
        #: The limits of the jobs that run user code.
        self.running: set[Limit] = set()
        self._alarm_at = inf
        signal.signal(signal.SIGALRM, self._alarm)

    def watch(self, limit: Limit) -> None:
        """Watch a job that runs user code under this limit."""
        self.running.add(limit)
        self._arm(limit.deadline + BLOCKED_S)

    def forget(self, limit: Limit) -> None:
        """Stop watching a job that has left user code."""
        self.running.discard(limit)
        if not self.running and self._alarm_at < inf:
            self._alarm_at = inf
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _arm(self, at: float) -> None:
        """Set the alarm to this time, unless it rings earlier anyway."""
        if at < self._alarm_at:
            self._alarm_at = at
            signal.setitimer(signal.ITIMER_REAL, max(at - monotonic(), 0.001))

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Runs in the job that has the processor, or in the loop."""
        self._alarm_at = inf
        for limit in list(self.running):
            if not limit.is_raised and limit.look_for_stop():
                limit.expire()
        now = monotonic()
        # Jobs past their limit are checked again and again, because one of them may block the others.
        first = min((limit.deadline for limit in self.running if not limit.is_raised), default=inf)
        if first < inf:
            self._arm(max(first, now) + BLOCKED_S)
        current = self._current()
        if current is not None and now >= current.deadline:
            current.interrupt()
