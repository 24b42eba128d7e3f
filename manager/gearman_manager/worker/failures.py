"""Tells of a job that has failed: in the log, and to its job server, whose dead letters, log and clients have the text.

What the rules of its function hide in the job's workload leaves no worker with an error.
"""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple

from gearman_client import WorkerJob
from gearman_client.errors import JobStopped
from gearman_client.text import ENCODING, ERRORS
from gearman_manager.errors import JobTimeout
from gearman_manager.job import Job
from gearman_manager.privacy import MARK, FunctionPrivacy
from gearman_manager.privacy.function_privacy import MOST_CHARACTERS
from gearman_manager.privacy.printed_form import as_printed
from gearman_manager.verdict import Reject, Retry, Throttled

#: Of a traceback, as it is sent.
MAX_TRACE_BYTES: Final = 32 * 1024
#: Jobs of one call whose workloads are looked at.
_MOST_JOBS: Final = 1000


class Failure(NamedTuple):
    """An error of a job's function, with what may be told of it."""

    error: BaseException
    text: str  #: its type, and its own text if it has one
    reason: str  #: for the log, only of our own exceptions: the text of others can fail, too
    trace: str
    is_redacted: bool  #: then the error itself must not be logged


def failure_of(error: BaseException, privacy: FunctionPrivacy, *jobs: WorkerJob) -> Failure:
    """What may be told of the error of a call with these jobs: nothing that is private in one of them."""
    text = describe(error)
    reason = f": {error}" if isinstance(error, (Throttled, Retry, Reject)) and error.args else ""
    trace = trace_of(error)
    if not privacy.hides:
        return Failure(error, text, reason, trace, is_redacted=False)
    workloads = b"\n".join(job.workload[:MOST_CHARACTERS] for job in jobs[:_MOST_JOBS])
    workload = as_printed(workloads[:MOST_CHARACTERS].decode(ENCODING, ERRORS))
    text, reason, trace = (privacy.text(each, workload) for each in (text, reason, trace))
    if text == MARK:  # there were too many values; the type is the code's
        text = f"{type(error).__name__}: {MARK}"
    return Failure(error, text, reason, trace, is_redacted=True)


def fail(assigned: WorkerJob, job: Job, failure: Failure, *, is_done: bool) -> None:
    """Log and answer that the job has failed. `is_done`: only its result can't be sent, and another attempt would not
    help."""
    error, reason = failure.error, failure.reason
    if isinstance(error, Throttled):
        held = "function is" if error.scope == "function" else "key is"
        job.log.warning("the job is put back, and its %s held for %g s%s", held, error.after_s, reason)
    elif isinstance(error, Retry):
        job.log.warning("the job is to be tried again%s", reason)
    elif isinstance(error, Reject):
        job.log.error("the job is rejected%s", reason)
    elif isinstance(error, JobStopped):
        job.log.warning("the job was stopped")
    elif isinstance(error, JobTimeout):
        job.log.error("the job failed: %s", failure.text)
    elif failure.is_redacted:
        job.log.error("the job failed: %s\n%s", failure.text, failure.trace.rstrip("\n"))
    else:
        job.log.error("the job failed: %s", failure.text, exc_info=error)
    if not answer_failure(assigned, failure, is_done=is_done):
        job.log.warning("%s is no job server of ours and can't be told: the job has failed", assigned.server)


def answer_failure(assigned: WorkerJob, failure: Failure, *, is_done: bool) -> bool:
    """Answer that the job has failed; returns False if its server can't be told of the wish of a Retry or Reject."""
    error, text = failure.error, failure.text.encode(errors="replace")
    trace = failure.trace.encode(errors="replace")[-MAX_TRACE_BYTES:]  # marks for what is private can be longer than it
    if isinstance(error, Throttled):
        after_s = error.after_s or 0.0
        return assigned.throttle(text, after_s=after_s, scope=error.scope, attempts=error.attempts, trace=trace)
    if isinstance(error, Retry):
        return assigned.retry(text, after_s=error.after_s, attempts=error.attempts, trace=trace)
    if isinstance(error, Reject):
        return assigned.reject(text, trace=trace)
    answer = assigned.reject if is_done else assigned.fail_because
    answer(text, trace=trace)
    return True


def trace_of(error: BaseException) -> str:
    """The error's traceback, to find its cause later; of a very long one only the last whole lines."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 (user code)
        return ""
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_TRACE_BYTES:
        return text
    last = encoded[-MAX_TRACE_BYTES:].decode(errors="ignore")  # it may begin within a character
    return last.partition("\n")[2] or last


def describe(error: BaseException) -> str:
    """The error's type, and its text if it has one. Even str() may raise in user code."""
    try:
        text = str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    except BaseException:  # noqa: BLE001 (user code)
        return type(error).__name__
