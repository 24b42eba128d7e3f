"""Which sleepers are woken for a job: one, and while a job waits on, twice as many every few milliseconds. Pure.

gearmand wakes every sleeper of the function for every job: with 2,000 of them, one job costs it 2,000 each of NOOP,
GRAB_JOB, NO_JOB and PRE_SLEEP. Here they are woken as well, but only as long as the job is there for them to take, so
nobody can tell it from a slow network. A worker that was woken and never grabs holds a job up for some milliseconds.
With `--worker-wakeup N` exactly N sleepers are woken for each job, at once, as in gearmand.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from gearman_server.replies import NOOP

if TYPE_CHECKING:
    from gearman_server.agenda import Agenda
    from gearman_server.function import Function
    from gearman_server.session import Session

#: A woken worker on the same network has grabbed its job long before.
STAGE_S: Final = 0.005


class WakeUp:
    """Sends NOOP to sleepers."""

    def __init__(self, agenda: Agenda, touched: set[Session], worker_wakeup: int) -> None:
        self._agenda = agenda
        self._touched = touched
        self._worker_wakeup = worker_wakeup
        #: Functions for which it is looked, at the next stage, whether a job still waits.
        self._staged: set[Function] = set()
        self._is_stopped = False

    def wake(self, function: Function, now: float) -> None:
        """A job of the function entered its queue."""
        self.wake_sleepers(function, self._worker_wakeup or 1)
        if not self._worker_wakeup and function.sleepers and function not in self._staged:
            self._staged.add(function)
            self._agenda.add(now + STAGE_S, partial(self._next_stage, function, 1))

    def stop(self) -> None:
        """From now on nobody is woken."""
        self._is_stopped = True

    def rouse(self, worker: Session) -> None:
        """The worker no longer sleeps: it gets no NOOP before its next PRE_SLEEP."""
        worker.sleeping = False
        for function in worker.functions:
            function.sleepers.pop(worker, None)

    def _next_stage(self, function: Function, woken: int, now: float) -> None:
        """Wake more than at the stage before, and have this looked at again, unless nothing waits any more."""
        if self._is_stopped or not function.sleepers or not function.has_job_for_a_worker(now):
            self._staged.discard(function)
            return
        to_wake = max(2 * woken, function.startable(now))
        self.wake_sleepers(function, to_wake)
        self._agenda.add(now + STAGE_S, partial(self._next_stage, function, to_wake))

    def wake_sleepers(self, function: Function, count: int) -> None:
        """NOOP to so many sleepers, the one that has slept longest first."""
        if self._is_stopped:
            return
        for worker in list(islice(function.sleepers, count)):
            self.rouse(worker)
            worker.reply(NOOP)
            self._touched.add(worker)
