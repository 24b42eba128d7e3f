"""Time limits of jobs that run side by side: raises JobTimeout in the greenlet of the job whose time is up.

The event loop raises it in a job that waits for something, as jobs do most of the time. In a job that computes and
lets no other run, a signal (SIGALRM) raises it a moment later, but never in our own code that the job calls. A job
that does not end after that is given up: it can't be ended, but the other jobs need not suffer for it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from math import inf
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Final, TypeVar

import gevent

from gearman_manager.errors import JobTimeout

_Result = TypeVar("_Result")
#: So long after the limit the loop counts as blocked; it is checked again at this interval.
BLOCKED_S: Final = 0.1
#: How long a function may clean up after JobTimeout.
CLEAN_UP_S: Final = 1.0


class TimeoutsInGreenlets:
    """One per process: it owns SIGALRM and the real-time interval timer."""

    def __init__(self) -> None:
        self._running: dict[object, GreenletTimeout] = {}
        self._alarm_at = inf
        signal.signal(signal.SIGALRM, self._alarm)

    def begin(self, limit: GreenletTimeout) -> None:
        """Watch the current greenlet, which runs user code under this limit."""
        self._running[gevent.getcurrent()] = limit
        self._arm(limit.deadline + BLOCKED_S)

    def end(self) -> None:
        """Stop watching the current greenlet, which has left user code."""
        self._running.pop(gevent.getcurrent(), None)
        if not self._running:
            self._alarm_at = inf
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _arm(self, at: float) -> None:
        """Set the alarm to this time, unless it rings earlier anyway."""
        if at < self._alarm_at:
            self._alarm_at = at
            signal.setitimer(signal.ITIMER_REAL, max(at - monotonic(), 0.001))

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Runs in the greenlet that has the processor: the loop's own, unless a job keeps it."""
        self._alarm_at = inf
        now = monotonic()
        # Jobs past their limit are checked again and again, because one of them may block the others.
        waiting = [limit.deadline for limit in self._running.values() if not limit.is_raised]
        if waiting:
            self._arm(max(min(waiting), now) + BLOCKED_S)
        limit = self._running.get(gevent.getcurrent())
        if limit is not None and now >= limit.deadline:
            limit.interrupt()


class GreenletTimeout:
    """The limit of one job. `with limit:` suspends it, for our own code that user code calls."""

    __slots__ = ("_give_up", "_is_suspended", "_limits", "_timers", "deadline", "is_raised")

    def __init__(self, limits: TimeoutsInGreenlets, give_up: Callable[[], None]) -> None:
        """`give_up` is called, in a greenlet of its own, if the job goes on in spite of JobTimeout."""
        self._limits = limits
        self._give_up = give_up
        self._timers: list[Any] = []
        self._is_suspended = False
        self.deadline = inf
        self.is_raised = False

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Run user code for at most `timeout_s` seconds, in the current greenlet.

        Raises:
            JobTimeout: it took longer.
        """
        self.deadline = monotonic() + timeout_s
        self._start_timer(timeout_s, self._expire, gevent.getcurrent())
        self._limits.begin(self)
        try:
            return function()
        finally:
            self.is_raised = True
            self._limits.end()
            for timer in self._timers:
                timer.stop()
                timer.close()

    def interrupt(self) -> None:
        """Interrupt the job. The alarm calls this in the job's greenlet.

        Raises:
            JobTimeout: once, and not while suspended.
        """
        if not self.is_raised and not self._is_suspended:
            self.is_raised = True
            raise JobTimeout

    def _expire(self, runner: gevent.Greenlet[..., object]) -> None:
        """Called by the loop: while the job waits, or, if the alarm came first, once the job gives way again."""
        self._start_timer(CLEAN_UP_S, gevent.spawn, self._give_up)
        if not self.is_raised:
            self.is_raised = True
            runner.throw(JobTimeout)

    def _start_timer(self, after_s: float, callback: Callable[..., object], *arguments: object) -> None:
        timer = gevent.get_hub().loop.timer(after_s)
        timer.start(callback, *arguments, update=True)
        self._timers.append(timer)

    def __enter__(self) -> None:
        self._is_suspended = True

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._is_suspended = False
