"""A job's life: it is queued, delayed, given to a worker, put back, ended, dropped, cancelled or stopped. Pure.

This is the one place where a job's state changes, beside the shortest ways of plain jobs (`requests/plain_jobs`); the
transitions are beside `JobState`. `attempts` decides whether another attempt follows one that did not end well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gearman_server.jobs.batch_rows import WITHDRAWN, Outcome
from gearman_server.jobs.delayed_jobs import EpochTimer, RetryTimer
from gearman_server.jobs.endings import CANCELLED_IN_TIME, CANCELLED_WHILE_IT_RAN, STOPPED, Endings
from gearman_server.jobs.events import Event, EventStream, JobAssigned, JobDue, StopOutcome
from gearman_server.jobs.job import (
    ASSIGN,
    CANCEL,
    CANCELLED,
    DELAY,
    DELAYED,
    END,
    ENQUEUE,
    HELD,
    HOLD,
    QUEUED,
    STOP,
    STOPPING,
    WRITTEN,
    Job,
    JobExtras,
    JobState,
)
from gearman_server.jobs.kept_results import Ending

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.batch_rows import Following
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp


class JobLife:
    """Changes jobs' states, and everything that has to change with them."""

    def __init__(
        self,
        table: JobTable,
        agenda: Agenda,
        events: EventStream,
        durability: Durability,
        results: ResultKeeping,
        wake_up: WakeUp,
    ) -> None:
        self.table = table
        self.agenda = agenda
        self.events = events
        self.endings = Endings(events)
        self.durability = durability
        self._results = results
        self._wake = wake_up.wake
        self._freed = wake_up.freed
        self._epoch_timer = EpochTimer(agenda, self._release_delayed)
        self._retry_timer = RetryTimer(agenda, self._release_delayed)
        #: All jobs by handle, to be read only.
        self.jobs = table.jobs
        #: Told of each end of a job with options or an id, before the store is, and whether it was withdrawn.
        self.note_end: Callable[[Job, bool], None] = _nothing
        #: What follows a job's end; set by the broker.
        self.following: Following | None = None
        #: The number of held jobs.
        self.held = 0
        #: Sessions that got packets through the request of another.
        self.touched = table.touched
        #: They send a packet to a job's listeners.
        self.tell = table.tell
        self.tell_failure = table.tell_failure

    # --- into its queue

    def enqueue(self, job: Job) -> None:
        """Put a job that is in no queue at the tail of its own."""
        job.state = ENQUEUE[job.state]
        job.since = self.agenda.now
        job.function.queues[job.priority].append(job)
        self._wake(job.function)

    def enter(self, job: Job) -> None:
        """Put a new job into its queue, or keep it out of it until it is written."""
        if self.durability.must_hold(job):
            self.hold(job)
        else:
            self.enqueue(job)

    def hold(self, job: Job) -> None:
        """Keep a background job that is in no queue out of its own until it is written."""
        job.state = HOLD[job.state]
        self.held += 1
        job.function.delayed[job.priority] += 1

    def hold_back(self, jobs: Iterable[Job]) -> None:
        """Take those of the jobs out of their queues that are neither written nor wanted by a foreground client, and
        have never run: they are not given out before they are written."""
        by_queue: dict[tuple[Function, int], set[Job]] = defaultdict(set)
        for job in jobs:
            if job.state is QUEUED and self._can_be_held(job):
                by_queue[job.function, job.priority].add(job)
        for (function, priority), held in by_queue.items():
            function.queues[priority].withdraw(held)
            for job in held:
                self.hold(job)

    def _can_be_held(self, job: Job) -> bool:
        return job.record not in (None, WRITTEN) and job.history is None and not job.listeners

    def release_held(self, jobs: Iterable[Job]) -> None:
        """Put those of the jobs that were held into their queues."""
        now = self.agenda.now
        released: dict[Function, int] = {}
        for job in jobs:
            if job.state is HELD:
                job.state = ENQUEUE[HELD]
                job.since = now
                function, priority = job.function, job.priority
                function.delayed[priority] -= 1
                function.queues[priority].append(job)
                released[function] = released.get(function, 0) + 1
        for function, number in released.items():
            self.held -= number
            self._wake(function, number)

    def unhold(self, job: Job) -> None:
        """A held job is in no queue, and waits for nothing any more."""
        self.held -= 1
        job.function.delayed[job.priority] -= 1
        job.state = ENQUEUE[job.state]

    def delay_until(self, job: Job, run_at: float, now: float) -> bool:
        """Delay the job, unless its time has come already. Returns whether it is delayed."""
        if not self._epoch_timer.is_future(run_at):
            return False
        self.delay(job, run_at, now)
        return True

    def delay(self, job: Job, run_at: float, now: float) -> None:
        """Have a job that is in no queue enter its own at that time (Unix seconds)."""
        job.state = DELAY[job.state]
        job.with_extras().run_at = run_at
        job.function.delayed[job.priority] += 1
        self._epoch_timer.add(job, run_at, now)

    def delay_again(self, job: Job, run_at: float) -> None:
        """Have a job that waits for its time wait for another one (Unix seconds) instead."""
        job.with_extras().run_at = run_at
        self._epoch_timer.note_dropped()
        self._epoch_timer.add(job, run_at, self.agenda.now)

    def await_retry(self, job: Job, due: float) -> None:
        """Have a job that is in no queue enter its own at that time (monotonic seconds)."""
        job.state = DELAY[job.state]
        job.function.delayed[job.priority] += 1
        self._retry_timer.add(job, due)

    def _release_delayed(self, job: Job) -> None:
        """Queue a job whose time has come."""
        job.function.delayed[job.priority] -= 1
        if job.history is not None:
            job.history.not_before = None
        if self.durability.must_hold(job) and self._can_be_held(job):
            self.hold(job)
            return
        self.enqueue(job)
        self.events.emit(JobDue(job.handle, job.function.name))

    # --- to a worker, and back

    def assign(self, job: Job, worker: Session, now: float) -> None:
        """Give a job that was taken out of its queue to a worker."""
        job.state = ASSIGN[job.state]
        job.worker = worker
        worker.assigned[job.handle] = job
        function = job.function
        function.running += 1
        if function.throttle is not None and function.throttle.counts_starts:
            function.throttle.note_start(now)
        if job.record is not None:
            self.durability.job_changed(job)
        if job.extras is not None and job.extras.options is not None and job.extras.options.is_unique_until_start:
            self.table.forget_key(job)
        if function.counts is not None:
            function.counts[job.priority].note_start(now - job.since, job.handle, now)
        job.since = now
        if self.events.wants_jobs:
            self.events.emit(JobAssigned(job.handle, function.name, worker.identity))

    def assign_unbegun(self, job: Job, worker: Session, now: float) -> None:
        """Give a job to a worker that will begin it later. The store does not hear of it: nothing has changed for the
        job if the server ends meanwhile."""
        record, job.record = job.record, None
        self.assign(job, worker, now)
        job.record = record
        if job.extras is not None and job.extras.options is not None and job.extras.options.is_unique_until_start:
            self.table.forget_key(job)

    def take_back(self, job: Job, since: float | None = None) -> bool:
        """Take a job from its worker and put it at the head of its queue, as if it had never been given out.

        since: for a job that the worker has not begun: since when it has waited in the queue. Returns False if nobody
        wants the job any more; then it is given up.
        """
        worker, given_at, function = job.worker, job.since, job.function
        done_at = worker.done_at if worker is not None else 0.0
        self.release_worker(job)
        if since is not None:
            if worker is not None:
                worker.done_at = done_at  # the job that it runs goes on
            if function.throttle is not None:
                function.throttle.forget_start(job.key, given_at)
        if job.state is STOPPING:
            self.end_stopped(job, StopOutcome.NOT_BEGUN)
            return False
        if not job.is_wanted:
            self.give_up(job, "abandoned", worker if since is None else None)
            return False
        if isinstance(job.extras, JobExtras):
            job.extras.progress = job.extras.recording = None
            job.extras.data = b""
        job.state = ENQUEUE[job.state]
        job.since = self.agenda.now if since is None else since
        function.queues[job.priority].appendleft(job)
        self._wake(function)
        if job.record is not None:
            self.durability.job_changed(job)
        return True

    def release_worker(self, job: Job) -> None:
        """Take the job from its worker, if it has one."""
        worker = job.worker
        if worker is not None:
            worker.assigned.pop(job.handle, None)
            worker.done_at = self.agenda.now
            job.worker = None
            if job.extras is not None and (job.extras.deadline is not None or job.extras.counted_in is not None):
                job.end_limits()
            function = job.function
            function.running -= 1
            throttle = function.throttle
            if throttle is not None and throttle.counts_ends:
                if function.sleepers or function.broad_workers:  # who falls asleep later looks for itself
                    self._freed.add(function)
                if throttle.brake is not None:
                    throttle.brake.note_release(job.since)

    def put_back(self, job: Job, wait_s: float = 0.0) -> None:
        """Put a job that its worker no longer has at the tail of its queue, after that wait, for another attempt."""
        if isinstance(job.extras, JobExtras):
            job.extras.progress = job.extras.recording = None
            job.extras.data = b""
        if wait_s > 0:
            self.await_retry(job, self.agenda.now + wait_s)
        else:
            self.enqueue(job)
        if job.record is not None:
            self.durability.job_changed(job)

    # --- the end

    def end(self, job: Job, outcome: Outcome | None = Outcome.FAILED, text: bytes = b"") -> None:
        """End the job; `release_worker` came before. Text: the result or the reason. None: it was never accepted."""
        was_cancelled, extras = job.state is CANCELLED, job.extras
        matters = extras is not None and (extras.options is not None or extras.submission != b"")
        if matters:
            self.note_end(job, outcome in WITHDRAWN)
        job.state = END[job.state]
        self.jobs.pop(job.handle, None)  # one that is others' now is not there (`cluster/ceded_jobs`)
        if job.unique:
            self.table.forget_key(job)
        if job.listeners:
            self.table.forget_listeners(job)
        if matters and not was_cancelled:
            self._end_record(job, outcome, text)
        elif job.record is not None:
            self.durability.job_ended(job)

    def _end_record(self, job: Job, outcome: Outcome | None, text: bytes) -> None:
        """Have the row deleted, and let follow what follows."""
        options = job.followed
        if options is not None and self.following is not None:
            self.following.end(job, options, outcome, text)
        elif job.record is not None:
            self.durability.job_ended(job)

    def give_up(self, job: Job, reason: str, worker: Session | None = None) -> None:
        """End a job that is in no queue, because nobody wants it any more. That worker had it."""
        self._keep_failure(job, reason)
        is_first_end = job.state is not CANCELLED
        self.end(job, Outcome.CANCELLED, reason.encode())
        self.endings.dropped(job, reason, worker, is_noted=is_first_end)

    def fail(self, job: Job, reason: str) -> None:
        """End a job that no worker has and that is in no queue, because it has had its attempts."""
        self._keep_failure(job, reason)
        self.end(job, Outcome.FAILED, reason.encode())

    def finish(self, job: Job, reason: str, event: Event, outcome: Outcome) -> None:
        """End a job that no worker has and that is in no queue, for a reason that its listeners are told."""
        self._keep_failure(job, reason)
        self.tell_failure(job, reason.encode())
        self.end(job, outcome, reason.encode())
        self.events.emit(event)

    def drop(self, job: Job, reason: str, outcome: Outcome | None = Outcome.CANCELLED) -> None:
        """End a waiting job: it will not run. Its listeners get WORK_FAIL. Outcome None: it was never accepted."""
        state = job.state
        self._keep_failure(job, reason)
        self.tell_failure(job)
        self.end(job, outcome, reason.encode())
        self.endings.dropped(job, reason)
        self._leave_queue(job, state)

    def drop_for(self, job: Job, reason: str, event: Event, outcome: Outcome) -> None:
        """End a waiting job for a reason that its listeners are told, with an event of its own."""
        state = job.state
        self.finish(job, reason, event, outcome)
        self._leave_queue(job, state)

    def _leave_queue(self, job: Job, state: JobState) -> None:
        """Forget the place of a job that has waited in this state."""
        job.workload = b""  # the tombstone in the queue must not hold its memory
        if state is not QUEUED:
            job.function.delayed[job.priority] -= 1
        if state is DELAYED:
            awaits_retry = job.history is not None and job.history.not_before is not None
            (self._retry_timer if awaits_retry else self._epoch_timer).note_dropped()
        elif state is QUEUED:
            job.function.queues[job.priority].bury(job)
        else:
            self.held -= 1

    def cancel(self, job: Job) -> None:
        """Cancel a job. A running one stays with its worker, which is not told; nobody is told of its outcome."""
        if job.is_waiting:
            self.drop(job, CANCELLED_IN_TIME)
            return
        self._leave_to_worker(job, CANCELLED_WHILE_IT_RAN, Outcome.CANCELLED)
        self.endings.dropped(job, CANCELLED_WHILE_IT_RAN, job.worker)

    def stop(self, job: Job) -> None:
        """Note that the worker of a running job is to stop it. A further submission of its unique key is a new job."""
        job.state = STOP[job.state]
        self.table.forget_key(job)

    def end_stopped(self, job: Job, outcome: StopOutcome, worker: Session | None = None) -> None:
        """End a job that was stopped and that no worker has any more; that worker had it."""
        self._keep_failure(job, STOPPED)
        self.tell_failure(job, STOPPED.encode())
        self.end(job, Outcome.STOPPED, STOPPED.encode())
        self.endings.stopped(job, outcome, worker)

    def leave_stopped(self, job: Job, outcome: StopOutcome) -> None:
        """End a job for its clients that was to be stopped and that its worker goes on with."""
        self._leave_to_worker(job, STOPPED, Outcome.STOPPED, STOPPED.encode())
        self.endings.stopped(job, outcome, job.worker)

    def _leave_to_worker(self, job: Job, reason: str, outcome: Outcome, text: bytes | None = None) -> None:
        """End a running job for its clients, who get the text. Nobody is told of its worker's answer."""
        following = CANCEL[job.state]
        self.tell_failure(job, text)
        self.table.forget_listeners(job)
        self._keep_failure(job, reason)
        if job.extras is not None:
            self.note_end(job, True)
        job.state = following
        self.table.forget_key(job)
        self._end_record(job, outcome, reason.encode())

    def let_go(self, job: Job) -> None:
        """Forget a waiting job that another server has now: whoever waits for it here hears of no result."""
        state = job.state
        self.tell_failure(job)
        job.record = None  # so its keys stay
        job.state = END[job.state]
        del self.jobs[job.handle]
        self.table.forget_key(job)
        self.table.forget_listeners(job)
        self._leave_queue(job, state)

    def _keep_failure(self, job: Job, reason: str) -> None:
        if job.keep_result_s is not None:
            self._results.end(job, Ending.FAILED, reason.encode())


def _nothing(_job: Job, _is_withdrawn: bool) -> None:
    """Nobody wants to be told of ends."""
