"""What becomes of a job whose attempt did not end well: tried again, now or later, or given up. Pure.

The one place where a function's `retries` and `crash_retries` are applied, whoever said that the attempt is over: the
worker, its supervisor, the server's own timer, or the end of a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_client.packet import PacketType
from gearman_server.jobs.events import AttemptFailed, JobDropped, JobEnded, JobFailed, JobRequeued
from gearman_server.jobs.job import JobHistory
from gearman_server.jobs.kept_results import Ending
from gearman_server.jobs.replies import forwarded

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_table import JobTable

#: A wait before a retry is this much shorter or longer than it was reckoned, so that jobs that failed together do not
#: come back together.
JITTER: Final = 0.2
#: Beyond so many doublings any wait has reached any limit.
_MAX_DOUBLINGS: Final = 64
#: What is kept of a failure's text, and of its traceback.
MAX_ERROR_BYTES: Final = 4 * 1024
MAX_TRACEBACK_BYTES: Final = 32 * 1024


class Verdict(Enum):
    """What is to become of the job, as far as the worker says."""

    #: What its function's policy says.
    FAIL = b"fail"
    #: Another attempt, even if the policy has none left.
    RETRY = b"retry"
    #: No other attempt, even if the policy has some left.
    REJECT = b"reject"


class Failure(NamedTuple):
    """How an attempt failed."""

    #: The name of the worker's packet; None when the attempt was ended from outside.
    how: str | None
    #: What clients that asked for exceptions are told; None: there is nothing to tell but the failure.
    reason: bytes | None = None
    traceback: bytes = b""
    verdict: Verdict = Verdict.FAIL
    #: With RETRY: the wait in seconds, and how many attempts there may be in all; None: the policy's wait, any number.
    wait_s: float | None = None
    most_attempts: int | None = None


class Attempts:
    """Ends attempts."""

    def __init__(self, table: JobTable, unix_time: Callable[[], float], random: Callable[[], float]) -> None:
        self._table = table
        self._unix_time = unix_time
        self._random = random

    def fail(self, job: Job, failure: Failure) -> None:
        """This attempt has failed. Those who listen are told once no other follows."""
        started = job.since
        self._table.release_worker(job)
        history = _history(job, started)
        history.failures += 1
        history.error = (failure.reason or b"")[:MAX_ERROR_BYTES]
        history.traceback = failure.traceback[-MAX_TRACEBACK_BYTES:]
        if job.is_wanted and _is_followed(job, history, failure):
            self._retry(job, history, failure)
            return
        if failure.reason is None:
            self._table.tell(job, forwarded(PacketType.WORK_FAIL, job.handle))
        else:
            self._tell_exception(job, failure.reason)
        if job.background and job.is_wanted:
            self._table.dead_letters.bury(job, self._table.now)
        if job.function.keep_result_s is not None:
            ending = Ending.FAILED if failure.reason is None else Ending.EXCEPTION
            self._table.results.end(job, ending, failure.reason or b"")
        self._table.end(job)
        self._note_end(job, failure, started)

    def lose_worker(self, job: Job, reason: str) -> None:
        """The worker was lost under the job: back to the tail of its queue, unless it has had its attempts."""
        started = job.since
        self._table.release_worker(job)
        if not job.is_wanted:
            self._drop(job, "abandoned")
            return
        history = _history(job, started)
        history.losses += 1
        if self._may_run_again(job, history, reason):
            self._table.put_back(job)

    def lose_server(self, job: Job) -> bool:
        """A job is back from the store that was running when the server ended. False: that was its last attempt."""
        return self._may_run_again(job, _history(job, job.since), "the server ended under it")

    def _may_run_again(self, job: Job, history: JobHistory, reason: str) -> bool:
        """The worker was lost, and that is counted. Gives the job up if it was once too often."""
        history.error, history.traceback = reason.encode(), b""
        crash_retries = job.function.policy.crash_retries
        if crash_retries is not None and history.losses > crash_retries:
            self._table.tell(job, forwarded(PacketType.WORK_FAIL, job.handle))
            if job.background:
                self._table.dead_letters.bury(job, self._table.now)
            self._drop(job, f"{reason}, and it has had its {history.losses} attempts")
            return False
        self._table.events.emit(JobRequeued(job.handle, job.function.name, reason, history.losses, job.priority))
        return True

    def _retry(self, job: Job, history: JobHistory, failure: Failure) -> None:
        wait_s = self._wait_s(job, history.failures) if failure.wait_s is None else failure.wait_s
        self._table.events.emit(
            AttemptFailed(
                job.handle, job.function.name, history.error, history.attempts, round(wait_s, 3), job.priority
            )
        )
        if wait_s > 0:
            history.not_before = self._unix_time() + wait_s
        self._table.put_back(job, wait_s)

    def _wait_s(self, job: Job, failures: int) -> float:
        policy = job.function.policy
        wait_s = min(policy.backoff_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), policy.max_backoff_s)
        return wait_s * (1 + JITTER * (2 * self._random() - 1))

    def _tell_exception(self, job: Job, reason: bytes) -> None:
        """Everybody who listens hears that the job failed; who did not ask for exceptions gets a plain WORK_FAIL."""
        exception = forwarded(PacketType.WORK_EXCEPTION, job.handle + b"\0" + reason)
        failure = forwarded(PacketType.WORK_FAIL, job.handle)
        for listener in job.listeners:
            listener.reply(exception if listener.wants_exceptions else failure)
            self._table.touched.add(listener)

    def _note_end(self, job: Job, failure: Failure, started: float) -> None:
        events = self._table.events
        if failure.how is None:
            events.emit(JobFailed(job.handle, job.function.name, failure.reason or b"", job.priority))
            return
        if job.function.counts is not None:
            job.function.counts[job.priority].note_failure(self._table.now - started)
        if events.wants_jobs:
            events.emit(JobEnded(job.handle, job.function.name, failure.how))

    def _drop(self, job: Job, reason: str) -> None:
        if job.function.keep_result_s is not None:
            self._table.results.end(job, Ending.FAILED, reason.encode())
        self._table.end(job)
        self._table.events.emit(JobDropped(job.handle, job.function.name, reason, job.priority))


def _is_followed(job: Job, history: JobHistory, failure: Failure) -> bool:
    """Whether another attempt follows the one that has just been counted."""
    if failure.verdict is Verdict.REJECT:
        return False
    if failure.verdict is Verdict.RETRY and (failure.most_attempts is None or history.attempts < failure.most_attempts):
        return True
    return history.failures <= job.function.policy.retries


def _history(job: Job, started: float) -> JobHistory:
    history = job.history
    if history is None:
        history = job.with_extras().history = JobHistory(started)
    history.last_started = started
    return history
