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

A worker with very many functions is in no function's list of sleepers, and looks for no job in all their queues: it is
told which of its functions have jobs (`Session.ready`) when a queue is no longer empty. So none of its requests costs
more the more functions it has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.replies import NOOP
from gearman_server.jobs.session import ROUSE, SLEEP, SLEEPING, WAKE

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.throttle import Throttle

#: A woken worker on the same network grabs its job in far less time.
STAGE_S: Final = 0.005
#: How long workers that were woken for a throttled function have to grab their jobs.
PATIENCE_S: Final = 0.05
#: A worker with more functions is a broad one.
FEW_FUNCTIONS: Final = 64
_MANY_WORKERS: Final = 1 << 20


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
        #: For functions that some workers want in batches: which of the sleepers are woken, no more than so many.
        self.choose_ripe: Callable[[Function, Iterable[Session], int], list[Session]] = _choose_first
        #: Sleepers with very many functions, the one that has slept longest first.
        self._broad_sleepers: OrderedDict[Session, None] = OrderedDict()

    def wake(self, function: Function, jobs: int = 1) -> None:
        """Have sleepers woken for this many jobs that entered the function's queues."""
        if function.broad_workers:
            _tell_broad_workers(function, jobs)
        if not self.has_sleepers(function):
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
            if function.batches is not None and not function.woken:
                continue  # nobody is on his way who could get lost
            if waiting and function not in self._staged and self.has_sleepers(function):
                self._staged.add(function)
                self._agenda.add(now + STAGE_S, partial(self._next_stage, function, 1))

    def stop(self) -> None:
        """Wake no worker any more."""
        self._is_stopped = True

    def wake_for_waiting(self, function: Function) -> None:
        """Have sleepers woken for the function's jobs that wait: the time has come for them."""
        if function.throttle is not None:
            self.wake_for_openings(function)
        else:
            self.due[function] = function.takeable

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
            if worker.ready is not None:
                self._broad_sleepers.pop(worker, None)
                return
            for function in worker.functions:
                function.sleepers.pop(worker, None)
        elif worker.woken_for is not None:
            worker.woken_for.woken.discard(worker)
            worker.woken_for = None

    def _wake_sleepers(self, function: Function, count: int) -> int:
        """Send NOOP to this many sleepers, the one that has slept longest first. Returns how many there were."""
        if count <= 0 or self._is_stopped:
            return 0
        choose = _choose_first if function.batches is None else self.choose_ripe
        workers = choose(function, self._sleepers(function), count)
        for worker in workers:
            self.wake_worker(worker, function)
        return len(workers)

    def _next_stage(self, function: Function, woken: int, now: float) -> None:
        """Wake more sleepers than the stage before, and plan the stage after, unless no job waits any more."""
        since = function.waiting_since
        is_throttled = function.throttle is not None  # it has a throttle now: `wake_for_openings` sees to its jobs
        is_unripe = function.batches is not None and not function.woken
        if self._is_stopped or is_throttled or is_unripe or since is None or not self.has_sleepers(function):
            self._staged.discard(function)
            return
        if now < since + STAGE_S:  # the job that waits now is another one
            self._agenda.add(since + STAGE_S, partial(self._next_stage, function, 1))
            return
        function.woken.clear()  # they have had their time to grab
        to_wake = min(max(2 * woken, function.takeable), _MANY_WORKERS)
        self._wake_sleepers(function, to_wake)
        self._agenda.add(now + STAGE_S, partial(self._next_stage, function, to_wake))

    # --- sleepers

    def put_to_sleep(self, worker: Session) -> None:
        """Send NOOP to the worker when there is a job for it."""
        worker.worker_state = SLEEP[worker.worker_state]
        if worker.ready is not None:
            self._broad_sleepers[worker] = None
            return
        for function in worker.functions:
            function.sleepers[worker] = None

    def _sleepers(self, function: Function) -> Iterator[Session]:
        """The sleepers that can do the function."""
        yield from function.sleepers
        broad_workers = function.broad_workers
        if not broad_workers or not self._broad_sleepers:
            return
        # Loops, because mypyc makes a list of a generator expression, and often only the first one is wanted.
        if len(broad_workers) < len(self._broad_sleepers):
            for worker in broad_workers:
                if worker.worker_state is SLEEPING:
                    yield worker
        else:
            for worker in self._broad_sleepers:
                if function in worker.functions:
                    yield worker

    def has_sleepers(self, function: Function) -> bool:
        """Whether a worker that can do the function sleeps."""
        if function.sleepers or not self._broad_sleepers:
            return bool(function.sleepers)
        return next(self._sleepers(function), None) is not None

    # --- a worker's functions

    def add_function(self, worker: Session, function: Function) -> None:
        """The worker has one more function."""
        if worker.ready is not None:
            _broaden(worker, function, worker.ready)
        elif len(worker.functions) > FEW_FUNCTIONS:
            worker.ready = (OrderedDict(), OrderedDict(), OrderedDict())
            for each in worker.functions:
                each.sleepers.pop(worker, None)
                _broaden(worker, each, worker.ready)
            if worker.worker_state is SLEEPING:
                self._broad_sleepers[worker] = None
        elif worker.worker_state is SLEEPING:
            function.sleepers[worker] = None

    def remove_function(self, worker: Session, function: Function) -> None:
        """The worker has a function no longer."""
        function.woken.discard(worker)
        function.sleepers.pop(worker, None)
        if worker.ready is not None and function.broad_workers is not None:
            function.broad_workers.pop(worker, None)
            for ready in worker.ready:
                ready.pop(function, None)

    def forget_breadth(self, worker: Session) -> None:
        """The worker has no function any more."""
        self._broad_sleepers.pop(worker, None)
        worker.ready = None

    # --- functions with a throttle

    def wake_freed(self) -> None:
        """Wake sleepers for freed places that the workers which freed them have not taken again."""
        while self.freed:
            self.wake_for_openings(self.freed.pop())

    def wake_for_openings(self, function: Function) -> None:
        """Wake one sleeper for each job that may be started, and plan another look for the remaining sleepers."""
        throttle, now = function.throttle, self._agenda.now
        if throttle is None or not self.has_sleepers(function):
            return
        count = self._wake_sleepers(function, function.startable(now))
        if function.queued and self.has_sleepers(function):
            at = throttle.opens_at(function.running, now)
            if count and (at is None or at > now + PATIENCE_S):
                at = now + PATIENCE_S
            if at is not None:
                self._look_again(function, throttle, at)

    def _look_again(self, function: Function, throttle: Throttle, at: float) -> None:
        def look(_now: float) -> None:
            if function.throttle is throttle:  # else the rules have changed
                self.wake_for_openings(function)

        if throttle.alarm is None:
            throttle.alarm = self._agenda.alarm(look)
        throttle.alarm.by(at)


def _broaden(worker: Session, function: Function, ready: tuple[OrderedDict[Function, None], ...]) -> None:
    """Note the function of a worker that has very many."""
    if function.broad_workers is None:
        function.broad_workers = {}
    function.broad_workers[worker] = None
    for queue, functions in zip(function.queues, ready, strict=True):
        if queue:
            functions[function] = None


def _tell_broad_workers(function: Function, jobs: int) -> None:
    """Tell workers with very many functions of queues that may have been empty before this many jobs came."""
    for priority, queue in enumerate(function.queues):
        if 0 < len(queue) <= jobs + queue.tombstones:
            for worker in function.broad_workers or ():
                if worker.ready is not None:
                    worker.ready[priority][function] = None


def _choose_first(_function: Function, sleepers: Iterable[Session], most: int) -> list[Session]:
    return list(islice(sleepers, most))
