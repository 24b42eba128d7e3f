"""Wakes sleeping workers for a job: one, and while the job waits, twice as many every few milliseconds. Pure.

gearmand wakes every sleeper of the function for every job: with 2,000 of them, one job costs it 2,000 each of NOOP,
GRAB_JOB, NO_JOB and PRE_SLEEP. Here they are woken too, but only while the job is still there to be taken; no worker
can tell that from a slow network. A worker that was woken and never grabs delays a job by some milliseconds.
With `--worker-wakeup N` exactly N sleepers are woken, as in gearmand, for each job that is still there.

Workers are not woken in vain if that can be avoided. `settle` is called once all packets that have arrived are carried
out. A job that a busy worker has taken by then, with its next GRAB_JOB, needs no sleeper, and neither does a job for
which a woken worker is on its way.

For a function that may not start all its waiting jobs at once (`Throttle`), as many sleepers are woken as jobs may be
started, whenever a place or a token becomes free. Some woken workers may not come (they died, or were given another
job), so the remaining sleepers are considered again a moment later.
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

#: A woken worker on the same network grabs its job in far less time.
STAGE_S: Final = 0.005
#: How long workers that were woken for a throttled function have to grab their jobs.
PATIENCE_S: Final = 0.05


class WakeUp:
    """Sends NOOP to sleepers."""

    def __init__(self, agenda: Agenda, touched: set[Session], worker_wakeup: int) -> None:
        self._agenda = agenda
        self._touched = touched
        self._worker_wakeup = worker_wakeup
        #: By function, the number of jobs that have entered its queues since sleepers were last woken.
        self.due: dict[Function, int] = {}
        #: Functions with a throttle that had a running job end since sleepers were last woken.
        self.freed: set[Function] = set()
        #: Functions with a next stage ahead, which wakes more sleepers if a job still waits.
        self._staged: set[Function] = set()
        self._is_stopped = False

    def wake(self, function: Function, jobs: int = 1) -> None:
        """Have sleepers woken for this many jobs that entered the function's queues."""
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
        """Wake no worker any more."""
        self._is_stopped = True

    def wake_worker(self, worker: Session, function: Function) -> None:
        """Send NOOP to this worker."""
        self.rouse(worker)
        worker.worker_state = WAKE[worker.worker_state]
        worker.woken_for = function
        function.woken.add(worker)
        worker.reply(NOOP)
        self._touched.add(worker)

    def rouse(self, worker: Session) -> None:
        """Take the worker out of the sleepers, or the woken: it gets no NOOP before its next PRE_SLEEP."""
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
        """Send NOOP to this many sleepers, the one that has slept longest first."""
        if count > 0 and not self._is_stopped:
            for worker in list(islice(function.sleepers, count)):
                self.wake_worker(worker, function)

    def _next_stage(self, function: Function, woken: int, now: float) -> None:
        """Wake more sleepers than the stage before, and plan the stage after, unless no job waits any more."""
        since = function.waiting_since
        is_throttled = function.throttle is not None  # it has a throttle now: `wake_for_openings` sees to its jobs
        if self._is_stopped or is_throttled or not function.sleepers or since is None:
            self._staged.discard(function)
            return
        if now < since + STAGE_S:  # the job that waits now is another one
            self._agenda.add(since + STAGE_S, partial(self._next_stage, function, 1))
            return
        function.woken.clear()  # they have had their time to grab
        to_wake = min(max(2 * woken, function.takeable), len(function.sleepers))
        self._wake_sleepers(function, to_wake)
        self._agenda.add(now + STAGE_S, partial(self._next_stage, function, to_wake))

    # --- functions with a throttle

    def wake_freed(self) -> None:
        """Wake sleepers for freed places that the workers which freed them have not taken again."""
        while self.freed:
            self.wake_for_openings(self.freed.pop())

    def wake_for_openings(self, function: Function) -> None:
        """Wake one sleeper for each job that may be started, and plan another look for the remaining sleepers."""
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
            if function.throttle is throttle:  # else the rules have changed
                self.wake_for_openings(function)

        if throttle.alarm is None:
            throttle.alarm = self._agenda.alarm(look)
        throttle.alarm.by(at)
