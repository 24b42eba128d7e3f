"""What becomes of a job: queued, delayed, given to a worker, put back, ended, dropped, cancelled. Pure.

The one place where a job's state changes; the table of transitions is beside `JobState`. Whether another attempt
follows one that did not end well is for `attempts` to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gearman_server.jobs.delayed_jobs import EpochTimer, RetryTimer
from gearman_server.jobs.events import EventStream, JobAssigned, JobDropped, JobDue
from gearman_server.jobs.job import ASSIGN, CANCEL, DELAY, DELAYED, END, ENQUEUE, QUEUED, Job
from gearman_server.jobs.kept_results import Ending

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp


class JobLife:
    """Changes jobs' states, and whatever has to change with them."""

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
        self._jobs = table.jobs
        #: To those who listen to a job.
        self.tell = table.tell
        self.tell_failure = table.tell_failure

    # --- into its queue

    def enqueue(self, job: Job) -> None:
        """The job, which is in no queue, goes to the tail of its own."""
        job.state = ENQUEUE[job.state]
        job.since = self._agenda.now
        job.function.queues[job.priority].append(job)
        self._wake(job.function)

    def delay_until(self, job: Job, run_at: int, now: float) -> bool:
        """Delay the job, unless its time has come already. Returns whether it is delayed."""
        if not self._epoch_timer.is_future(run_at):
            return False
        self.delay(job, run_at, now)
        return True

    def delay(self, job: Job, run_at: int, now: float) -> None:
        """The job, which is in no queue, enters its queue at that time (Unix seconds)."""
        job.state = DELAY[job.state]
        job.with_extras().run_at = run_at
        job.function.delayed[job.priority] += 1
        self._epoch_timer.add(job, run_at, now)

    def await_retry(self, job: Job, due: float) -> None:
        """The job, which is in no queue, enters its queue at that time (monotonic seconds)."""
        job.state = DELAY[job.state]
        job.function.delayed[job.priority] += 1
        self._retry_timer.add(job, due)

    def _release_delayed(self, job: Job) -> None:
        """The job's time has come."""
        job.function.delayed[job.priority] -= 1
        if job.history is not None:
            job.history.not_before = None
        self.enqueue(job)
        self._events.emit(JobDue(job.handle, job.function.name))

    # --- to a worker, and back

    def assign(self, job: Job, worker: Session, now: float) -> None:
        """The job, which was taken out of its queue, is the worker's from now on."""
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

    def release_worker(self, job: Job) -> None:
        """The job no longer belongs to the worker that had it."""
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
        """A job that no worker has any longer is to have another attempt, at the tail of its queue, after that wait."""
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
        """The job is over. Its worker, if it had one, has been taken care of by the caller."""
        job.state = END[job.state]
        del self._jobs[job.handle]
        if job.unique:
            self._table.forget_key(job)
        if job.listeners:
            self._table.forget_listeners(job)
        if job.record is not None:
            self._durability.job_ended(job)

    def give_up(self, job: Job, reason: str) -> None:
        """The job, which no worker has and which is in no queue, is not going to run again."""
        self._keep_failure(job, reason)
        self._discard(job, reason)

    def drop(self, job: Job, reason: str) -> None:
        """A waiting job is not going to run: those who listen get WORK_FAIL."""
        was_delayed = job.state is DELAYED
        self._keep_failure(job, reason)
        self.tell_failure(job)
        self._discard(job, reason)
        job.workload = b""  # the tombstone in the queue must not keep it
        if was_delayed:
            job.function.delayed[job.priority] -= 1
            awaits_retry = job.history is not None and job.history.not_before is not None
            (self._retry_timer if awaits_retry else self._epoch_timer).note_dropped()
        else:
            job.function.queues[job.priority].bury()

    def drop_waiting(self, function: Function, *, are_some_outside: bool, reason: str) -> None:
        """Drop all that waits for the function. `are_some_outside`: jobs may be in no queue, or behind unread ones."""
        if are_some_outside or any(function.delayed):
            waiting = [job for job in self._jobs.values() if job.function is function and job.is_waiting]
        else:
            waiting = [job for queue in function.queues for job in queue if job.state is QUEUED]
        for job in waiting:
            self.drop(job, reason)

    def cancel(self, job: Job) -> None:
        """Cancel it. A running one stays with its worker, who is not told, but nobody hears of its outcome."""
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

    def stop_listening(self, session: Session) -> None:
        """The session is gone. A queued job that nobody else wants goes with it; a running one goes on."""
        for job in session.listening:
            job.listeners = [listener for listener in job.listeners if listener is not session]
            if job.is_waiting and not job.is_wanted:
                self.drop(job, "abandoned by its clients")
        session.listening.clear()

    def inserts_failed(self, jobs: Iterable[Job]) -> None:
        """The store will not commit these inserts. A running job goes on in memory, a queued one was never promised."""
        for job in jobs:
            if not self._durability.insert_failed(job):
                continue
            if job.is_waiting:
                job.background = False
                if not job.is_wanted:
                    self.drop(job, "could not be stored")
            self._durability.tell_failed(job)

    def _keep_failure(self, job: Job, reason: str) -> None:
        if job.function.keep_result_s is not None:
            self._results.end(job, Ending.FAILED, reason.encode())

    def _discard(self, job: Job, reason: str) -> None:
        self.end(job)
        self._events.emit(JobDropped(job.handle, job.function.name, reason, job.priority))
