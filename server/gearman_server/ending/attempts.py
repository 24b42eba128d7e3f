"""Decides on a job whose attempt did not end well: it is tried again, now or later, or given up. Pure.

This is the one place that applies a function's `retries` and `crash_retries`, no matter how the attempt ended: by the
worker, its supervisor, the server's own timer, or the end of a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.ending.expiry import Expiry
from gearman_server.jobs.batch_rows import Outcome
from gearman_server.jobs.endings import End, Sequel
from gearman_server.jobs.events import (
    AttemptFailed,
    EventStream,
    FunctionHeld,
    FunctionReleased,
    JobEnded,
    JobFailed,
    JobRequeued,
    JobReturned,
    StopOutcome,
)
from gearman_server.jobs.job import STOPPING, JobHistory
from gearman_server.jobs.kept_results import Ending
from gearman_server.jobs.timeouts import OVERRAN, TIMEOUT, Overrun

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.dead_letters import DeadLetters
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.throttle import Brake

#: The wait before a retry is up to this share shorter or longer than computed, so that jobs that failed together do not
#: come back together.
JITTER: Final = 0.2
#: After this many doublings any wait has reached any limit.
_MAX_DOUBLINGS: Final = 64
#: The part of a failure's text that is kept, and that of its traceback.
MAX_ERROR_BYTES: Final = 4 * 1024
MAX_TRACEBACK_BYTES: Final = 32 * 1024


class Verdict(Enum):
    """The worker's wish for a job whose attempt has failed."""

    #: As the function's policy says.
    FAIL = b"fail"
    #: Another attempt, even if the policy has none left.
    RETRY = b"retry"
    #: No other attempt, even if the policy has some left.
    REJECT = b"reject"
    #: No failure: back to its queue, and none of its key or function starts for a while.
    THROTTLE = b"throttle"
    #: No failure: the worker has to leave, and the job goes on at its last checkpoint. It costs no attempt.
    YIELD = b"yield"


class Failure(NamedTuple):
    """The failure of an attempt."""

    #: The name of the worker's packet; None when the attempt was ended from outside.
    how: str | None
    #: The text for clients that asked for exceptions; None: they get a plain WORK_FAIL.
    reason: bytes | None = None
    traceback: bytes = b""
    verdict: Verdict = Verdict.FAIL
    #: With RETRY: the wait in seconds (None: the policy's), and the number of attempts in all (None: no limit). With
    #: THROTTLE the wait is the hold's.
    wait_s: float | None = None
    most_attempts: int | None = None
    #: With THROTTLE: whether the whole function is held, not only the job's key.
    is_of_function: bool = False


class Attempts:
    """Ends attempts that did not succeed."""

    def __init__(
        self,
        life: JobLife,
        dead_letters: DeadLetters,
        results: ResultKeeping,
        agenda: Agenda,
        events: EventStream,
        random: Callable[[], float],
    ) -> None:
        """`random` gives numbers from 0 to 1."""
        self.expiry = Expiry(life, dead_letters, agenda, events)
        self._life = life
        self._dead_letters = dead_letters
        self._results = results
        self._agenda = agenda
        self._events = events
        self._random = random
        #: Holds the key or function of a job that its worker puts back; returns whether it is back (see `throttled`).
        self.throttle: Callable[[Job, Failure], bool] = _fails

    def fail(self, job: Job, failure: Failure) -> None:
        """End a failed attempt. The job's listeners are told only if no other attempt follows."""
        if failure.verdict is Verdict.YIELD and job.state is not STOPPING:
            self.take_back(job, "its worker leaves")
            return
        if failure.verdict is Verdict.THROTTLE and self.throttle(job, failure):
            return
        started, worker = job.since, job.worker
        self._life.release_worker(job)
        if job.state is STOPPING:
            self._life.end_stopped(job, StopOutcome.ANSWERED, worker)
            return
        if failure.verdict is not Verdict.REJECT:  # that blames the job, not what it depends on
            self._note_for_brake(job, started)
        history = _history(job, started)
        history.failures += 1
        history.error = (failure.reason or b"")[:MAX_ERROR_BYTES]
        history.traceback = failure.traceback[-MAX_TRACEBACK_BYTES:]
        end = _end_of(failure)
        if job.is_wanted and _is_followed(job, history, failure):
            self._note(job, worker, end, Sequel.RETRY)
            if self.expiry.is_over(job):
                self.expiry.end(job)
            else:
                self._retry(job, history, failure)
            return
        self._life.tell_failure(job, failure.reason)
        self._note(job, worker, end, self._bury(job))
        if job.keep_result_s is not None:
            ending = Ending.FAILED if failure.reason is None else Ending.EXCEPTION
            self._results.end(job, ending, failure.reason or b"")
        if job.is_wanted:
            reason = history.error or b"its worker gave no reason"
            self._note_failure(job, history, reason, is_counted=failure.how is not None)
        self._life.end(job, Outcome.FAILED, history.error)
        self._note_end(job, failure, started)

    def lose_worker(self, job: Job, reason: str) -> None:
        """Requeue a job whose worker was lost under it, at the tail, or give it up if it has had its attempts. One that
        the worker held, but had not begun, goes back to the head, and is given out alone from now on."""
        worker = job.worker
        held = worker.held if worker is not None else None
        if worker is not None and held is not None and not held.is_begun(job, worker.assigned):
            job.with_extras().is_alone = True
            self._life.take_back(job, held.since.pop(job.handle, job.since))
            return
        started = job.since
        self._life.release_worker(job)
        if job.state is STOPPING:
            self._life.end_stopped(job, StopOutcome.LOST, worker)
            return
        self._note_for_brake(job, started)
        if not job.is_wanted:
            self._life.give_up(job, "abandoned", worker)
            return
        history = _history(job, started)
        history.losses += 1
        if self._may_run_again(job, history, reason, worker):
            self._life.put_back(job)

    def overrun(self, job: Job, limit: Overrun) -> None:
        """Decide on a running job that has overrun this limit."""
        if limit is Overrun.POLICY:
            self.fail(job, Failure(None, TIMEOUT))
        elif limit is Overrun.ANNOUNCED:
            self.lose_worker(job, OVERRAN)
        elif job.state is STOPPING:  # else it was cancelled meanwhile
            self._life.leave_stopped(job, StopOutcome.OVERDUE)

    def note_success(self, job: Job, brake: Brake) -> None:
        """The job has ended well, which takes its function's brake off if it was a probe."""
        since = brake.since
        if brake.note_success(job.since) and since is not None:
            self._events.emit(FunctionReleased(job.function.name, round(self._agenda.now - since, 3)))

    def _note_for_brake(self, job: Job, started: float) -> None:
        throttle = job.function.throttle
        brake = throttle.brake if throttle is not None else None
        if brake is None:
            return
        was_on = brake.since is not None
        if brake.note_failure(started, self._agenda.now, self._agenda.unix_time()):
            failures = brake.rule.failures
            reason = f"more than {failures.count} attempts have failed within {failures.per_s:g} s"
            reason = "a job that probed it has failed" if was_on else reason
            self._events.emit(FunctionHeld(job.function.name, brake.rule.hold_s, reason))

    def take_back(self, job: Job, reason: str) -> None:
        """Requeue a job that is taken from its worker, at the head, as if it had never been given out."""
        self._note(job, job.worker, End.RETURNED, Sequel.RETRY, reason.encode())
        if self._life.take_back(job):
            self._events.emit(JobReturned(job.handle, job.function.name, reason))

    def lose_server(self, job: Job) -> bool:
        """For a stored job that was running when the server ended. False: that was its last attempt, it is given up."""
        return self._may_run_again(job, _history(job, job.since), "the server ended under it", None)

    def _may_run_again(self, job: Job, history: JobHistory, reason: str, worker: Session | None) -> bool:
        """Whether the job may run again; the loss of its worker is counted already. If not, gives it up."""
        history.error, history.traceback = reason.encode(), b""
        crash_retries = job.function.policy.crash_retries
        if crash_retries is not None and history.losses > crash_retries:
            self._life.tell_failure(job)
            self._note(job, worker, End.LOST, self._bury(job))
            self._note_failure(job, history, history.error, is_counted=False)
            self._life.fail(job, f"{reason}, and it has had its {history.losses} attempts")
            return False
        self._note(job, worker, End.LOST, Sequel.RETRY)
        if self.expiry.is_over(job):
            self.expiry.end(job)
            return False
        self._events.emit(JobRequeued(job.handle, job.function.name, reason, history.losses, job.priority))
        return True

    def _retry(self, job: Job, history: JobHistory, failure: Failure) -> None:
        wait_s = self._wait_s(job, history.failures) if failure.wait_s is None else failure.wait_s
        self._events.emit(
            AttemptFailed(
                job.handle, job.function.name, history.error, history.attempts, round(wait_s, 3), job.priority
            )
        )
        if wait_s > 0:
            history.not_before = self._agenda.unix_time() + wait_s
        self._life.put_back(job, wait_s)

    def _wait_s(self, job: Job, failures: int) -> float:
        policy = job.policy
        wait_s = min(policy.backoff_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), policy.max_backoff_s)
        return wait_s * (1 + JITTER * (2 * self._random() - 1))

    def _bury(self, job: Job) -> Sequel:
        """Keep the letter of a background job that has failed for good. Returns what follows its end."""
        is_kept = job.is_background and job.is_wanted and self._dead_letters.bury(job, self._agenda.now)
        return Sequel.DEAD if is_kept else Sequel.NOTHING

    def _note(self, job: Job, worker: Session | None, end: End, sequel: Sequel, text: bytes | None = None) -> None:
        """Tell of the attempt's end; its reason is in the job's history, if no text is given."""
        note = self._life.endings.note
        if note is not None:
            error = b"" if job.history is None else job.history.error
            note(job, worker, end, sequel, error if text is None else text)

    def _note_failure(self, job: Job, history: JobHistory, reason: bytes, *, is_counted: bool) -> None:
        name, attempts = job.function.name, history.attempts
        self._events.emit(JobFailed(job.handle, name, reason, attempts, job.priority, is_counted=is_counted))

    def _note_end(self, job: Job, failure: Failure, started: float) -> None:
        events = self._events
        if failure.how is None:
            return
        if job.function.counts is not None:
            now = self._agenda.now
            job.function.counts[job.priority].note_failure(now - started, job.handle, now)
        if events.wants_jobs:
            events.emit(JobEnded(job.handle, job.function.name, failure.how))


def _end_of(failure: Failure) -> End:
    if failure.reason is None:
        return End.FAILED
    if failure.how is None:
        return End.TIMEOUT if failure.reason == TIMEOUT else End.FAILED
    return End.EXCEPTION


def _is_followed(job: Job, history: JobHistory, failure: Failure) -> bool:
    """Whether another attempt follows the one that has just been counted."""
    if failure.verdict is Verdict.REJECT:
        return False
    if failure.verdict is Verdict.RETRY and (failure.most_attempts is None or history.attempts < failure.most_attempts):
        return True
    return history.failures <= job.policy.retries


def _history(job: Job, started: float) -> JobHistory:
    history = job.history
    if history is None:
        history = job.with_extras().history = JobHistory(started)
    history.last_started = started
    return history


def _fails(_job: Job, _failure: Failure) -> bool:
    """Nobody can hold anything."""
    return False
