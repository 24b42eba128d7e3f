"""A job's life: it is queued, delayed, given to a worker, put back, ended, dropped or cancelled. Pure.

This is the one place where a job's state changes; the table of transitions is beside `JobState`. `attempts` decides
whether another attempt follows one that did not end well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.delayed_jobs import EpochTimer, RetryTimer
from gearman_server.jobs.events import EventStream, JobAssigned, JobDropped, JobDue
from gearman_server.jobs.job import (
    ASSIGN,
    CANCEL,
    DELAY,
    DELAYED,
    END,
    ENQUEUE,
    HELD,
    HOLD,
    QUEUED,
    WRITTEN,
    Job,
)
from gearman_server.jobs.kept_results import Ending

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import InsertsFailed
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
        self._table = table
        self._agenda = agenda
        self._events = events
        self._durability = durability
        self._results = results
        self._wake = wake_up.wake
        self._freed = wake_up.freed
        self._epoch_timer = EpochTimer(agenda, self._release_delayed)
        self._retry_timer = RetryTimer(agenda, self._release_delayed)
        #: All jobs by handle, to be read only.
        self.jobs = table.jobs
        #: The number of held jobs.
        self._held = 0
        #: They send a packet to a job's listeners.
        self.tell = table.tell
        self.tell_failure = table.tell_failure

    # --- into its queue

    def enqueue(self, job: Job) -> None:
        """Put a job that is in no queue at the tail of its own."""
        job.state = ENQUEUE[job.state]
        job.since = self._agenda.now
        job.function.queues[job.priority].append(job)
        self._wake(job.function)

    def enter(self, job: Job) -> None:
        """Put a new job into its queue, or keep it out of it until it is written."""
        if self._durability.is_holding:
            self.hold(job)
        else:
            self.enqueue(job)

    def hold(self, job: Job) -> None:
        """Keep a background job that is in no queue out of its own until it is written."""
        job.state = HOLD[job.state]
        self._held += 1
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
        is_unwritten = job.record is not None and job.record is not WRITTEN
        return is_unwritten and job.history is None and not job.listeners

    def release_held(self, job: Job) -> None:
        """Put a job that was held into its queue."""
        self._held -= 1
        job.function.delayed[job.priority] -= 1
        self.enqueue(job)

    def delay_until(self, job: Job, run_at: int, now: float) -> bool:
        """Delay the job, unless its time has come already. Returns whether it is delayed."""
        if not self._epoch_timer.is_future(run_at):
            return False
        self.delay(job, run_at, now)
        return True

    def delay(self, job: Job, run_at: int, now: float) -> None:
        """Have a job that is in no queue enter its own at that time (Unix seconds)."""
        job.state = DELAY[job.state]
        job.with_extras().run_at = run_at
        job.function.delayed[job.priority] += 1
        self._epoch_timer.add(job, run_at, now)

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
        if self._durability.is_holding and self._can_be_held(job):
            self.hold(job)
            return
        self.enqueue(job)
        self._events.emit(JobDue(job.handle, job.function.name))

    # --- to a worker, and back

    def assign(self, job: Job, worker: Session, now: float) -> None:
        """Give a job that was taken out of its queue to a worker."""
        job.state = ASSIGN[job.state]
        job.worker = worker
        worker.assigned[job.handle] = job
        function = job.function
        function.running += 1
        if function.throttle is not None:
            function.throttle.note_start(now)
        if job.record is not None:
            self._durability.job_changed(job)
        if function.counts is not None:
            function.counts[job.priority].note_start(now - job.since)
        job.since = now
        if self._events.wants_jobs:
            self._events.emit(JobAssigned(job.handle, function.name, worker.identity))

    def assign_unbegun(self, job: Job, worker: Session, now: float) -> None:
        """Give a job to a worker that will begin it later. The store does not hear of it: nothing has changed for the
        job if the server ends meanwhile."""
        record, job.record = job.record, None
        self.assign(job, worker, now)
        job.record = record

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
                function.throttle.forget_start(given_at)
        if not job.is_wanted:
            self.give_up(job, "abandoned")
            return False
        if job.extras is not None:
            job.extras.progress = job.extras.recording = None
        job.state = ENQUEUE[job.state]
        job.since = self._agenda.now if since is None else since
        function.queues[job.priority].appendleft(job)
        self._wake(function)
        if job.record is not None:
            self._durability.job_changed(job)
        return True

    def release_worker(self, job: Job) -> None:
        """Take the job from its worker, if it has one."""
        worker = job.worker
        if worker is not None:
            worker.assigned.pop(job.handle, None)
            worker.done_at = self._agenda.now
            job.worker = None
            if job.extras is not None:
                job.extras.deadline = None
            function = job.function
            function.running -= 1
            if function.throttle is not None:
                self._freed.add(function)

    def put_back(self, job: Job, wait_s: float = 0.0) -> None:
        """Put a job that its worker no longer has at the tail of its queue, after that wait, for another attempt."""
        if job.extras is not None:
            job.extras.progress = job.extras.recording = None
        if wait_s > 0:
            self.await_retry(job, self._agenda.now + wait_s)
        else:
            self.enqueue(job)
        if job.record is not None:
            self._durability.job_changed(job)

    # --- the end

    def end(self, job: Job) -> None:
        """End the job. The caller has called `release_worker`, if a worker had it."""
        job.state = END[job.state]
        del self.jobs[job.handle]
        if job.unique:
            self._table.forget_key(job)
        if job.listeners:
            self._table.forget_listeners(job)
        if job.record is not None:
            self._durability.job_ended(job)

    def give_up(self, job: Job, reason: str) -> None:
        """End a job that no worker has and that is in no queue, because nobody wants it any more."""
        self._keep_failure(job, reason)
        self._discard(job, reason)

    def fail(self, job: Job, reason: str) -> None:
        """End a job that no worker has and that is in no queue, because it has had its attempts."""
        self._keep_failure(job, reason)
        self.end(job)

    def drop(self, job: Job, reason: str) -> None:
        """End a waiting job: it will not run, and its listeners get WORK_FAIL."""
        state = job.state
        self._keep_failure(job, reason)
        self.tell_failure(job)
        self._discard(job, reason)
        job.workload = b""  # the tombstone in the queue must not hold its memory
        if state is not QUEUED:
            job.function.delayed[job.priority] -= 1
        if state is DELAYED:
            awaits_retry = job.history is not None and job.history.not_before is not None
            (self._retry_timer if awaits_retry else self._epoch_timer).note_dropped()
        elif state is QUEUED:
            job.function.queues[job.priority].bury()
        else:
            self._held -= 1

    def drop_waiting(self, function: Function, *, are_some_outside: bool, reason: str) -> Iterator[None]:
        """Drop all waiting jobs of the function, in steps. `are_some_outside`: some may be in no queue."""
        is_all = are_some_outside or any(function.delayed)
        jobs = list(self.jobs.values() if is_all else chain.from_iterable(function.queues))
        for at in range(0, len(jobs), STEP):
            for job in jobs[at : at + STEP]:
                if job.function is function and job.is_waiting:
                    self.drop(job, reason)
            if at + STEP < len(jobs):
                yield

    def cancel(self, job: Job) -> None:
        """Cancel a job. A running one stays with its worker, which is not told; nobody is told of its outcome."""
        if job.is_waiting:
            self.drop(job, "cancelled")
            return
        following = CANCEL[job.state]
        self.tell_failure(job)
        self._table.forget_listeners(job)
        self._keep_failure(job, "cancelled while it ran")
        job.state = following
        self._table.forget_key(job)
        if job.record is not None:
            self._durability.job_ended(job)
        self._events.emit(JobDropped(job.handle, job.function.name, "cancelled while it ran", job.priority))

    def stop_listening(self, session: Session) -> Iterator[None]:
        """Forget a session that is gone, in steps. A waiting job that nobody else wants is dropped; a running one goes
        on."""
        listening = session.listening
        while listening:
            for _ in range(min(STEP, len(listening))):
                job = listening.pop()
                self._table.forget_listener(job, session)
                if job.is_waiting and not job.is_wanted:
                    self.drop(job, "abandoned by its clients")
            if listening:
                yield

    # --- the store's verdicts

    def inserts_written(self, jobs: Collection[Job]) -> None:
        """Acknowledge jobs that are written, and put those that were held into their queues."""
        self._durability.inserts_written(jobs)
        if self._held:
            for job in jobs:
                if job.state is HELD:
                    self.release_held(job)

    def inserts_failed(self, failed: InsertsFailed) -> None:
        """Deal with inserts that failed: a job that has not run, is surely not stored and is wanted by no foreground
        client is dropped, and its submitters are told. All others go on, and are inserted again."""
        durability = self._durability
        for job in list(failed.jobs):
            if job.record is None or job.record is WRITTEN:
                continue  # it has ended meanwhile
            is_unknown = failed.are_unknown or durability.is_unknown(job)
            if job.is_waiting and not is_unknown and job.history is None and not job.listeners:
                durability.insert_failed(job)
                self.drop(job, "could not be stored")
                durability.tell_failed(job)
            elif not failed.are_refused:
                durability.insert_again(job, is_unknown=is_unknown)
                if is_unknown:
                    self.hold_back([job])

    def _keep_failure(self, job: Job, reason: str) -> None:
        if job.function.keep_result_s is not None:
            self._results.end(job, Ending.FAILED, reason.encode())

    def _discard(self, job: Job, reason: str) -> None:
        self.end(job)
        self._events.emit(JobDropped(job.handle, job.function.name, reason, job.priority))
