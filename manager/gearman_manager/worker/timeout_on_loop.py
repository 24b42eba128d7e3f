"""Limits of jobs on an asyncio loop: a job whose time is up, or that is to stop, is cancelled, as by `asyncio.timeout`.

The function sees `asyncio.CancelledError` and can clean up; outside, it was JobTimeout or JobStopped. A job that
computes and lets no other run is interrupted by `blocking_jobs`. One that does not end after that is given up: it
can't be ended, but the others need not suffer for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final, TypeVar

from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.worker.blocking_jobs import BlockingJobs, Limit

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
#: How long a function may clean up after it was cancelled.
CLEAN_UP_S: Final = 1.0
#: The limit of the job that has the processor. Tasks that a job starts inherit it.
_current: ContextVar[LoopTimeout | None] = ContextVar("gearman_manager_limit", default=None)


class TimeoutsOnLoop(BlockingJobs):
    """One per process, for all jobs of its loop."""

    def __init__(self) -> None:
        super().__init__(_current.get)


class LoopTimeout(Limit):
    """The limit of one job. `with limit:` suspends it, for our own code that user code calls."""

    __slots__ = ("_give_up", "_limits", "_loop", "_task", "_timers")

    def __init__(self, limits: TimeoutsOnLoop, give_up: Callable[[Limit], None], slot: SlotWriter) -> None:
        """`give_up` is called if the job goes on in spite of being cancelled."""
        super().__init__(slot, CLEAN_UP_S)
        self._limits = limits
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    async def call(
        self, function: Callable[[_Argument], Awaitable[_Result]], argument: _Argument, timeout_s: float | None
    ) -> _Result:
        """Run user code for at most `timeout_s` seconds, None: any time, in the current task.

        Raises:
            JobTimeout: it took longer.
            JobStopped: its job is to stop.
        """
        self._task = asyncio.current_task()
        if timeout_s is not None:
            self.deadline = monotonic() + timeout_s
            self._timers.append(self._loop.call_later(timeout_s, self._expire))
        self._limits.watch(self)
        _current.set(self)
        try:
            if self.look_for_stop():  # it was told before it began
                self.interrupt()
            return await function(argument)
        except (asyncio.CancelledError, BaseExceptionGroup) as error:
            if self.is_raised:
                raise self.error from error
            raise
        finally:
            self.is_raised = True  # nothing interrupts what the job leaves behind
            self._limits.forget(self)
            for timer in self._timers:
                timer.cancel()

    def expire(self) -> None:
        """Have the loop interrupt the job; called by a signal's handler, in any task."""
        self._loop.call_soon_threadsafe(self._expire)

    def _expire(self) -> None:
        """Called by the loop: while the job waits, or, if the alarm came first, once the job gives way again."""
        if self not in self._limits.running:
            return  # it has just ended
        self._timers.append(self._loop.call_later(self.clean_up_s, self._give_up, self))
        if not self.is_raised:
            self.is_raised = True
            if self._task is not None:
                self._task.cancel()
