"""Limits of jobs that run side by side: raises JobTimeout or JobStopped in the greenlet of a job whose time is up.

The event loop raises it in a job that waits for something, as jobs do most of the time. A job that computes
and lets no other run is interrupted by `blocking_jobs`. One that does not end after that is given up: it can't
be ended, but the other jobs need not suffer for it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeVar

import gevent

from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.worker.blocking_jobs import BlockingJobs, Limit

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
#: How long a function may clean up after JobTimeout.
CLEAN_UP_S: Final = 1.0


class TimeoutsInGreenlets(BlockingJobs):
    """One per process, for the jobs of all its greenlets."""

    def __init__(self) -> None:
        self._limits: dict[object, GreenletTimeout] = {}
        super().__init__(lambda: self._limits.get(gevent.getcurrent()))

    def begin(self, limit: GreenletTimeout) -> None:
        """Watch the current greenlet, which runs user code under this limit."""
        self._limits[gevent.getcurrent()] = limit
        self.watch(limit)

    def end(self, limit: GreenletTimeout) -> None:
        """Stop watching the current greenlet, which has left user code."""
        self._limits.pop(gevent.getcurrent(), None)
        self.forget(limit)


class GreenletTimeout(Limit):
    """The limit of one job. `with limit:` suspends it, for our own code that user code calls."""

    __slots__ = ("_give_up", "_limits", "_runner", "_timers")

    def __init__(self, limits: TimeoutsInGreenlets, give_up: Callable[[Limit], None], slot: SlotWriter) -> None:
        """`give_up` is called, in a greenlet of its own, if the job goes on in spite of JobTimeout or JobStopped."""
        super().__init__(slot, CLEAN_UP_S)
        self._limits = limits
        self._give_up = give_up
        self._runner: Any = None
        self._timers: list[Any] = []

    def call(self, function: Callable[[_Argument], _Result], argument: _Argument, timeout_s: float | None) -> _Result:
        """Run user code for at most `timeout_s` seconds, None: any time, in the current greenlet.

        Raises:
            JobTimeout: it took longer.
            JobStopped: its job is to stop.
        """
        self._runner = gevent.getcurrent()
        if timeout_s is not None:
            self.deadline = monotonic() + timeout_s
            self._start_timer(timeout_s, self._expire)
        self._limits.begin(self)
        try:
            if self.look_for_stop():  # it was told before it began
                self.interrupt()
            return function(argument)
        finally:
            self.is_raised = True
            self._limits.end(self)
            for timer in self._timers:
                timer.stop()
                timer.close()

    def expire(self) -> None:
        """Have the loop interrupt the job; called by a signal's handler, in any greenlet."""
        gevent.get_hub().loop.run_callback_threadsafe(self._expire)

    def _expire(self) -> None:
        """Called by the loop: while the job waits, or, if the alarm came first, once the job gives way again."""
        if self not in self._limits.running:
            return  # it has just ended
        self._start_timer(self.clean_up_s, gevent.spawn, self._give_up, self)
        if not self.is_raised:
            self.is_raised = True
            self._runner.throw(self.error)

    def _start_timer(self, after_s: float, callback: Callable[..., object], *arguments: object) -> None:
        timer = gevent.get_hub().loop.timer(after_s)
        timer.start(callback, *arguments, update=True)
        self._timers.append(timer)
