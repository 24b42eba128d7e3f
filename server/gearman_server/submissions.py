"""The SUBMIT_* requests: a new job, or one more who wants a job that exists. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gearman_client.packet import PacketType
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.events import JobCoalesced, JobQueued
from gearman_server.job import HIGH, LOW, NORMAL, QUEUED, coalescing_key
from gearman_server.replies import job_created

if TYPE_CHECKING:
    from gearman_server.job import Job
    from gearman_server.job_table import JobTable
    from gearman_server.schedule_rules import ScheduleRule
    from gearman_server.session import Session

#: A request handler: the session that asks, the packet's body, and the monotonic time in seconds.
Handler = Callable[["Session", bytes, float], None]

MAX_UNIQUE_BYTES: Final = 64
_UNIX_SECONDS: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_MAX_UNIX_SECONDS: Final = 2**63 - 1


class Submissions:
    """Handlers of the SUBMIT_* packets."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._functions = table.functions
        self._is_durable = table.durability.is_durable

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.SUBMIT_JOB: self._foreground(NORMAL),
            PacketType.SUBMIT_JOB_HIGH: self._foreground(HIGH),
            PacketType.SUBMIT_JOB_LOW: self._foreground(LOW),
            PacketType.SUBMIT_JOB_BG: self._background(NORMAL),
            PacketType.SUBMIT_JOB_HIGH_BG: self._background(HIGH),
            PacketType.SUBMIT_JOB_LOW_BG: self._background(LOW),
            PacketType.SUBMIT_JOB_EPOCH: self._submit_epoch,
            PacketType.SUBMIT_REDUCE_JOB: self._submit_reduce,
            PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: self._submit_reduce_background,
        }

    def _foreground(self, priority: int) -> Handler:
        def submit_foreground(session: Session, body: bytes, _now: float) -> None:
            job, is_new = self._find_or_create(body, priority)
            self._attach(session, job, is_new)

        return submit_foreground

    def _background(self, priority: int) -> Handler:
        def submit_background(session: Session, body: bytes, _now: float) -> None:
            job, is_new = self._find_or_create(body, priority)
            self._promise(session, job, is_new)

        return submit_background

    def _submit_epoch(self, session: Session, body: bytes, now: float) -> None:
        """A background job that is not run before its time."""
        try:
            name, unique, seconds, workload = body.split(b"\0", 3)
        except ValueError:
            raise MalformedPacketError("an epoch job takes function, unique, Unix seconds and workload") from None
        run_at = _unix_seconds(seconds)
        is_due = not self._table.epoch_timer.is_future(run_at)
        job, is_new = self._find_or_create(b"\0".join((name, unique, workload)), NORMAL, is_due=is_due)
        if is_new and not is_due:
            self._table.delay(job, run_at, now)
        self._promise(session, job, is_new)

    def _submit_reduce(self, session: Session, body: bytes, _now: float) -> None:
        job, is_new = self._find_or_create_reduce(body)
        self._attach(session, job, is_new)

    def _submit_reduce_background(self, session: Session, body: bytes, _now: float) -> None:
        job, is_new = self._find_or_create_reduce(body)
        self._promise(session, job, is_new)

    def _find_or_create_reduce(self, body: bytes) -> tuple[Job, bool]:
        """The server only carries the reducer.

        libgearman sends a fourth string before the workload, read and thrown away, as in gearmand. The protocol's text
        knows three: those who went by it are understood too, as long as their workload holds no zero byte.
        """
        arguments = body.split(b"\0", 4)
        if len(arguments) < 4:
            raise MalformedPacketError("a reduce job takes function, unique, reducer, one more and workload")
        name, unique, reducer = arguments[:3]
        if len(reducer) > MAX_UNIQUE_BYTES:
            raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Reducer value too large")
        job, is_new = self._find_or_create(b"\0".join((name, unique, arguments[-1])), NORMAL)
        if is_new:
            job.with_extras().reducer = reducer
        return job, is_new

    def _find_or_create(self, body: bytes, priority: int, *, is_due: bool = True) -> tuple[Job, bool]:
        """The job that is meant, and whether it is new."""
        try:
            name, unique, workload = body.split(b"\0", 2)
        except ValueError:
            raise MalformedPacketError("a submission takes function, unique and workload") from None
        function = self._functions.get(name) or self._table.function(name)
        if unique:
            if len(unique) > MAX_UNIQUE_BYTES:
                raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
            key = unique if unique != b"-" else coalescing_key(unique, workload)
            known = function.by_key.get(key) if key is not None else None
            if known is not None:
                return known, False
        if function.limits is not None and function.is_full_for(priority):
            raise RefusedError(b"QUEUE_ERROR", b"Job queue is full")
        return self._table.create(function, unique, workload, priority, is_due=is_due), True

    def _attach(self, session: Session, job: Job, is_new: bool) -> None:
        """The submitter waits for the outcome."""
        self._table.listen(session, job)
        session.reply(job_created(job.handle))
        if is_new:
            self._announce(job)
        else:
            self._note_coalesced(job)

    def _promise(self, session: Session, job: Job, is_new: bool) -> None:
        """The submitter doesn't wait: the job runs even if every client leaves."""
        job.background = True
        if self._is_durable:
            self._table.durability.acknowledge(session, job)
        else:
            session.reply(job_created(job.handle))
        if is_new:
            self._announce(job)
        else:
            self._note_coalesced(job)

    def submit_scheduled(self, rule: ScheduleRule) -> Job:
        """A background job that no client asked for.

        Raises:
            RefusedError: the function's queue is full, or its name can't be used.
        """
        job, is_new = self._find_or_create(b"\0".join((rule.function, rule.unique, rule.workload)), rule.priority)
        job.background = True
        if self._is_durable:
            self._table.durability.store_unasked(job)
        if is_new:
            self._announce(job)
        else:
            self._note_coalesced(job)
        return job

    def _announce(self, job: Job) -> None:
        function = job.function
        # After the reply: a submitter that is a worker too sees JOB_CREATED before the NOOP.
        if function.sleepers and job.state is QUEUED:
            self._table.wake(function)
        if function.counts is not None:
            function.counts[job.priority].submitted += 1
        if self._table.events.wants_jobs:
            self._table.events.emit(JobQueued(job.handle, function.name))

    def _note_coalesced(self, job: Job) -> None:
        if job.function.counts is not None:
            job.function.counts[job.priority].coalesced += 1
        if self._table.events.wants_jobs:
            self._table.events.emit(JobCoalesced(job.handle, job.function.name))


def _unix_seconds(text: bytes) -> int:
    """gearmand takes what is no number for 0, and is silent on what is out of range."""
    if _UNIX_SECONDS.fullmatch(text) and abs(int(text)) <= _MAX_UNIX_SECONDS:
        return int(text)
    raise RefusedError(b"INVALID_ARGUMENT", b"The time to run at is no whole number of seconds since 1970")
