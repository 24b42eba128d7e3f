"""The WORK_* packets: a job's progress, data and end, on their way from its worker to waiting clients. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    CHECKPOINT,
    MAX_CURSOR_BYTES,
    THROTTLE_FUNCTION,
    THROTTLE_KEY,
    WORK_FAILURE,
    WORK_FAILURE_ARGUMENTS,
)
from gearman_client.packet import PacketType
from gearman_server.ending.attempts import Failure, Verdict
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.batch_rows import Outcome
from gearman_server.jobs.endings import RESULT_BYTES
from gearman_server.jobs.events import EventStream, JobEnded, StopOutcome
from gearman_server.jobs.job import STOPPING
from gearman_server.jobs.kept_results import Ending
from gearman_server.jobs.replies import forwarded
from gearman_server.requests.plain_jobs import PlainJobs

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.requests.submissions import Handler

_WORK_COMPLETE: Final = int(PacketType.WORK_COMPLETE)

#: Of the data that a worker of a background job has sent last, so much is kept for those who look at the job.
DATA_BYTES: Final = 512
#: Ten years: nobody means a longer wait.
MAX_WAIT_S: Final = 3650 * 86400.0
_FAILED: Final = Failure("WORK_FAIL")

# The texts are gearmand's.
_NOT_FOUND: Final = b"Job given in work result not found"
_NO_SUCH_JOB: Final = b"Job does not exist on server"
_NO_JOB_FOR_EXCEPTION: Final = b"An exception was received for a job that does not exist"


class WorkPackets:
    """Handlers of the WORK_* packets. They are accepted only from the connection that holds the job."""

    def __init__(self, life: JobLife, attempts: Attempts, results: ResultKeeping, events: EventStream) -> None:
        self._life = life
        self._plain = PlainJobs(life)
        self._tell = life.tell
        self._attempts = attempts
        self._results = results
        self._events = events

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.WORK_COMPLETE: self._complete,
            PacketType.WORK_FAIL: self._fail,
            PacketType.WORK_EXCEPTION: self._exception,
            WORK_FAILURE: self._failure,
            CHECKPOINT: self._checkpoint,
            PacketType.WORK_STATUS: self._status,
            PacketType.WORK_DATA: self._data,
            PacketType.WORK_WARNING: self._warning,
        }

    def _complete(self, session: Session, body: bytes, now: float) -> None:
        at = body.find(b"\0")
        if at < 0:
            at, body = len(body), _with_text(body)
        job = session.assigned.get(body[:at])
        if job is None:
            raise RefusedError(b"JOB_NOT_FOUND", _NOT_FOUND)
        if job.state is STOPPING:
            self._life.release_worker(job)
            self._life.end_stopped(job, StopOutcome.ANSWERED, session)
            return
        if job.listeners:
            self._tell(job, forwarded(_WORK_COMPLETE, body))
        note = self._life.endings.note_success
        if note is not None:
            note(job, session, body[at + 1 : at + 1 + RESULT_BYTES])
        function = job.function
        if job.extras is None and function.throttle is None and function.keep_result_s is None:
            self._plain.end(job, session)
        else:
            self._life.release_worker(job)
            throttle = function.throttle
            if throttle is not None and throttle.brake is not None:
                self._attempts.note_success(job, throttle.brake)
            has_options = job.extras is not None and job.extras.options is not None  # asked here: no call for most
            if function.keep_result_s is not None or (has_options and job.keep_result_s is not None):
                self._results.end(job, Ending.COMPLETE, body[at + 1 :])
            if has_options and job.followed is not None:
                self._life.end(job, Outcome.COMPLETE, body[at + 1 :])
            else:
                self._life.end(job)
        if function.counts is not None:
            function.counts[job.priority].note_completion(now - job.since, job.handle, now)
        if self._events.wants_jobs:
            self._events.emit(JobEnded(job.handle, function.name, "WORK_COMPLETE"))

    def _fail(self, session: Session, body: bytes, _now: float) -> None:
        handle = body.partition(b"\0")[0]
        job = session.assigned.get(handle)
        if job is None:
            if handle and handle == session.excepted_handle:
                session.excepted_handle = b""
                return
            raise RefusedError(b"JOB_NOT_FOUND", _NOT_FOUND)
        self._attempts.fail(job, _FAILED)

    def _exception(self, session: Session, body: bytes, _now: float) -> None:
        """An exception ends the attempt. Clients that did not ask for exceptions get a plain WORK_FAIL.

        Perl's worker sends a WORK_FAIL after it, and dies of the ERROR that gearmand answers. Here one such WORK_FAIL
        is ignored.
        """
        body = _with_text(body)
        job = _assigned_job(session, body, _NO_JOB_FOR_EXCEPTION)
        session.excepted_handle = job.handle
        self._attempts.fail(job, Failure("WORK_EXCEPTION", body[len(job.handle) + 1 :]))

    def _failure(self, session: Session, body: bytes, _now: float) -> None:
        """Our extension: a failure with its traceback, and the worker's wish for the job."""
        arguments = body.split(b"\0", WORK_FAILURE_ARGUMENTS - 1)
        if len(arguments) != WORK_FAILURE_ARGUMENTS:
            raise MalformedPacketError("WORK_FAILURE takes handle, verdict, wait, attempts, reason and traceback")
        _, name, wait, attempts, reason, traceback = arguments
        verdict = _verdict(name)
        if verdict is Verdict.THROTTLE:
            failure = Failure(
                "WORK_FAILURE", reason, traceback, verdict, _wait_s(wait), is_of_function=_is_of_function(attempts)
            )
        else:
            failure = Failure("WORK_FAILURE", reason, traceback, verdict, _wait_s(wait), _number(attempts, "attempts"))
        self._attempts.fail(_assigned_job(session, body, _NO_JOB_FOR_EXCEPTION), failure)

    def _checkpoint(self, session: Session, body: bytes, _now: float) -> None:
        """Our extension: how far the worker has come."""
        _, is_there, cursor = body.partition(b"\0")
        if not is_there or b"\0" in cursor:
            raise MalformedPacketError("CHECKPOINT takes handle and cursor, which holds no zero byte")
        job = _assigned_job(session, body, _NOT_FOUND)
        if len(cursor) > MAX_CURSOR_BYTES:
            text = b"%s: a cursor of %d bytes, at most %d are allowed" % (job.handle, len(cursor), MAX_CURSOR_BYTES)
            raise RefusedError(b"INVALID_ARGUMENT", text)
        job.with_extras().cursor = cursor
        if job.record is not None:
            self._life.durability.cursor_changed(job)

    def _status(self, session: Session, body: bytes, _now: float) -> None:
        arguments = body.split(b"\0", 2)
        job = _assigned_job(session, body, _NOT_FOUND)
        if len(arguments) != 3:
            return  # Perl's `send_work_status` leaves the denominator out: that says nothing
        job.with_extras().progress = (arguments[1], arguments[2])
        packet = forwarded(PacketType.WORK_STATUS, body)
        self._tell_progress(session, job, packet)
        if job.keep_result_s is not None:
            self._results.pass_on(job, packet)

    def _data(self, session: Session, body: bytes, _now: float) -> None:
        body = _with_text(body)
        job = _assigned_job(session, body, _NO_SUCH_JOB)
        if job.is_background:
            begin = len(job.handle) + 1
            job.with_extras().data = body[begin : begin + DATA_BYTES]
        self._report(session, job, forwarded(PacketType.WORK_DATA, body))

    def _warning(self, session: Session, body: bytes, _now: float) -> None:
        body = _with_text(body)
        job = _assigned_job(session, body, _NO_SUCH_JOB)
        self._report(session, job, forwarded(PacketType.WORK_WARNING, body))

    def _report(self, session: Session, job: Job, packet: bytes) -> None:
        self._tell_progress(session, job, packet)
        if job.keep_result_s is not None:
            self._results.report(job, packet)

    def _tell_progress(self, session: Session, job: Job, packet: bytes) -> None:
        self._tell(job, packet)
        if len(job.listeners) > STEP:
            session.yield_turn()  # each such packet costs as much as very many others


def _verdict(name: bytes) -> Verdict:
    try:
        return Verdict(name)
    except ValueError:
        raise MalformedPacketError("a verdict is fail, retry, reject, throttle or yield") from None


def _is_of_function(scope: bytes) -> bool:
    if scope not in (THROTTLE_KEY, THROTTLE_FUNCTION):
        raise MalformedPacketError("with the verdict throttle, key or function stands in the place of attempts")
    return scope == THROTTLE_FUNCTION


def _wait_s(digits: bytes) -> float | None:
    milliseconds = _number(digits, "wait")
    return None if milliseconds is None else min(milliseconds / 1000, MAX_WAIT_S)


def _number(digits: bytes, what: str) -> int | None:
    """A whole number, or None for an empty argument."""
    if digits and not (digits.isdigit() and len(digits) <= 18):
        raise MalformedPacketError(f"{what} is a whole number or nothing")
    return int(digits) if digits else None


def _with_text(body: bytes) -> bytes:
    """The body of handle and text. Perl's worker sends the handle alone if the text is empty or `0`."""
    return body if b"\0" in body else body + b"\0"


def _assigned_job(session: Session, body: bytes, not_found: bytes) -> Job:
    job = session.assigned.get(body.partition(b"\0")[0])
    if job is None:
        raise RefusedError(b"JOB_NOT_FOUND", not_found)
    return job
