"""Which sleepers are woken for a job: one, and while a job waits on, twice as many every few milliseconds. Pure.

gearmand wakes every sleeper of the function for every job: with 2,000 of them, one job costs it 2,000 each of NOOP,
GRAB_JOB, NO_JOB and PRE_SLEEP. Here they are woken as well, but only as long as the job is there for them to take, so
nobody can tell it from a slow network. A worker that was woken and never grabs holds a job up for some milliseconds.
With `--worker-wakeup N` exactly N sleepers are woken, as in gearmand, for each job that is still there.

Nobody is woken in vain if it can be helped. Whoever drives the broker calls `settle` when it has carried out all that
has arrived: a job that a busy worker has taken by then, when it asked for its next one, needs no sleeper, and neither
does one for which a worker is on its way.

Functions that may not start all their waiting jobs at once (`Throttle`) have as many sleepers woken as jobs may be
started, when a place or a token becomes free. Of those that were woken some may not come (they died, or were given
another job), so a moment later those that are left are looked after again.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.replies import NOOP
from gearman_server.jobs.session import ROUSE, SLEEPING, WAKE

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.throttle import Throttle

#: A woken worker on the same network has grabbed its job long before.
STAGE_S: Final = 0.005
#: How long those who were woken for a throttled function have to come for their jobs.
PATIENCE_S: Final = 0.05


class WakeUp:
    """Sends NOOP to sleepers."""

    def __init__(self, agenda: Agenda, touched: set[Session], worker_wakeup: int) -> None:
        self._agenda = agenda
        self._touched = touched
        self._worker_wakeup = worker_wakeup
        #: How many jobs of each function have entered their queues since sleepers were last woken.
        self.due: dict[Function, int] = {}
        #: Functions with a throttle of which a running job has ended since sleepers were last woken.
        self.freed: set[Function] = set()
        #: Functions for which it is looked, at the next stage, whether a job still waits.
        self._staged: set[Function] = set()
        self._is_stopped = False

    def wake(self, function: Function, jobs: int = 1) -> None:
        """So many jobs of the function entered its queue: sleepers hear of them."""
        if not function.sleepers:
            return
        if function.throttle is None:
            self.due[function] = self.due.get(function, 0) + jobs
        else:
            self.wake_for_openings(function)

    def settle(self, now: float) -> None:
        """Wake sleepers for the jobs that are still there."""
        due = list(self.due.items())
        self.due.clear()
        for function, jobs in due:
            waiting = function.takeable
            if self._worker_wakeup:
                self._wake_sleepers(function, self._worker_wakeup * min(jobs, waiting))
                continue
            self._wake_sleepers(function, min(jobs, waiting - len(function.woken)))
            if waiting and function.sleepers and function not in self._staged:
                self._staged.add(function)
                self._agenda.add(now + STAGE_S, partial(self._next_stage, function, 1))

    def stop(self) -> None:
        """From now on nobody is woken."""
        self._is_stopped = True

    def wake_worker(self, worker: Session, function: Function) -> None:
        """NOOP to this one."""
        self.rouse(worker)
        worker.worker_state = WAKE[worker.worker_state]
        worker.woken_for = function
        function.woken.add(worker)
        worker.reply(NOOP)
        self._touched.add(worker)

    def rouse(self, worker: Session) -> None:
        """The worker no longer sleeps, and is on its way to no job: it gets no NOOP before its next PRE_SLEEP."""
        state = worker.worker_state
        if state not in ROUSE:
            return
        worker.worker_state = ROUSE[state]
        if state is SLEEPING:
            for function in worker.functions:
                function.sleepers.pop(worker, None)
        elif worker.woken_for is not None:
            worker.woken_for.woken.discard(worker)
            worker.woken_for = None

    def _wake_sleepers(self, function: Function, count: int) -> None:
        """NOOP to so many sleepers, the one that has slept longest first."""
        if count > 0 and not self._is_stopped:
            for worker in list(islice(function.sleepers, count)):
                self.wake_worker(worker, function)

    def _next_stage(self, function: Function, woken: int, now: float) -> None:
        """Wake more than at the stage before, and have this looked at again, unless nothing waits any more."""
        since = function.waiting_since
        is_throttled = function.throttle is not None  # since then: `wake_for_openings` sees to its jobs
        if self._is_stopped or is_throttled or not function.sleepers or since is None:
            self._staged.discard(function)
            return
        if now < since + STAGE_S:  # it is another job
            self._agenda.add(since + STAGE_S, partial(self._next_stage, function, 1))
            return
        function.woken.clear()  # they have had their time
        to_wake = min(max(2 * woken, function.takeable), len(function.sleepers))
        self._wake_sleepers(function, to_wake)
        self._agenda.add(now + STAGE_S, partial(self._next_stage, function, to_wake))

    # --- functions with a throttle

    def wake_freed(self) -> None:
        """Wake sleepers for the places that those who had them have not taken again."""
        while self.freed:
            self.wake_for_openings(self.freed.pop())

    def wake_for_openings(self, function: Function) -> None:
        """Wake as many of the function's sleepers as there are jobs that may be started, and see to the others."""
        throttle, now = function.throttle, self._agenda.now
        if throttle is None or not function.sleepers:
            return
        count = min(function.startable(now), len(function.sleepers))
        self._wake_sleepers(function, count)
        if function.sleepers and function.queued:
            at = now + PATIENCE_S if count else throttle.opens_at(function.running, now)
            if at is not None:
                self._look_again(function, throttle, at)

    def _look_again(self, function: Function, throttle: Throttle, at: float) -> None:
        def look(_now: float) -> None:
            if function.throttle is throttle:  # else other rules hold since
                self.wake_for_openings(function)

        if throttle.alarm is None:
            throttle.alarm = self._agenda.alarm(look)
        throttle.alarm.by(at)
