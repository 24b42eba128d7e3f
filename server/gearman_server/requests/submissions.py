"""The SUBMIT_* requests: they create a job, or join one with the same unique key. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.extensions import DUPLICATE, MAX_JOBS_SUBMITTED, SUBMIT_JOBS, SUBMIT_JOBS_ARGUMENTS
from gearman_client.job_pairs import MAX_PRIORITY, priority_queue
from gearman_client.packet import PacketType, count_of, split_workloads
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.events import EventStream, JobCoalesced, JobQueued, RequestRefused
from gearman_server.jobs.job import (
    CANCELLED,
    HIGH,
    LOW,
    NORMAL,
    PRIORITIES,
    QUEUED,
    WRITTEN,
    Job,
    JobExtras,
    coalescing_key,
)
from gearman_server.jobs.replies import JOB_CREATED_HEADERS, error, job_created, jobs_created
from gearman_server.requests.allowance import Allowance
from gearman_server.requests.plain_jobs import PlainJobs

if TYPE_CHECKING:
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import CoalescingKey, Extras
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp

#: A request handler: the session that asks, the packet's body, and the monotonic time in seconds.
Handler = Callable[["Session", bytes, float], object]

MAX_UNIQUE_BYTES: Final = 64
_UNIX_SECONDS: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_MAX_UNIX_SECONDS: Final = 2**63 - 1


class Submit(Protocol):
    """Carries out a submission."""

    def __call__(
        self,
        session: Session | None,
        body: bytes,
        now: float,
        run_at: float | None = None,
        extras: Extras | None = None,
        parts: tuple[bytes, bytes, bytes] | None = None,
    ) -> Job | None:
        """`body` is that of a SUBMIT_JOB, `run_at` the Unix time of a delayed job; a schedule has no session.
        `extras` is for a new job; `parts` is the body in parts, if that is known.
        Returns None if the job has ended already.

        Raises:
            MalformedPacketError: the body is not that of a SUBMIT_JOB.
            RefusedError: the queue is full, or a name can't be used.
        """


class Submissions:
    """Handlers of the SUBMIT_* packets."""

    def __init__(
        self,
        functions: Functions,
        table: JobTable,
        life: JobLife,
        durability: Durability,
        wake_up: WakeUp,
        events: EventStream,
    ) -> None:
        self.functions = functions
        self.allowance = Allowance(functions)
        self.table = table
        self.life = life
        self.durability = durability
        self._wake = wake_up.wake
        self._events = events
        self._is_durable = durability.is_durable
        #: How jobs are submitted, by their queue.
        self.foreground = [self._submitter(priority, is_background=False) for priority in PRIORITIES]
        self.background = [self._submitter(priority, is_background=True) for priority in PRIORITIES]
        self._plain = PlainJobs(life)

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.SUBMIT_JOB: self.foreground[NORMAL],
            PacketType.SUBMIT_JOB_HIGH: self.foreground[HIGH],
            PacketType.SUBMIT_JOB_LOW: self.foreground[LOW],
            PacketType.SUBMIT_JOB_BG: self.background[NORMAL],
            PacketType.SUBMIT_JOB_HIGH_BG: self.background[HIGH],
            PacketType.SUBMIT_JOB_LOW_BG: self.background[LOW],
            PacketType.SUBMIT_JOB_EPOCH: self._submit_epoch,
            PacketType.SUBMIT_REDUCE_JOB: self._submit_reduce,
            PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: self._submit_reduce_background,
            SUBMIT_JOBS: self._submit_many,
        }

    def _submit_epoch(self, session: Session, body: bytes, now: float) -> None:
        """Submit a background job that is not run before its time."""
        try:
            name, unique, seconds, workload = body.split(b"\0", 3)
        except ValueError:
            raise MalformedPacketError("an epoch job takes function, unique, Unix seconds and workload") from None
        plain = b"\0".join((name, unique, workload))
        self.background[NORMAL](session, plain, now, run_at=_unix_seconds(seconds))

    def _submit_reduce(self, session: Session, body: bytes, now: float) -> None:
        plain, reducer = _split_reduce(body)
        self.foreground[NORMAL](session, plain, now, extras=_with_reducer(reducer))

    def _submit_reduce_background(self, session: Session, body: bytes, now: float) -> None:
        plain, reducer = _split_reduce(body)
        self.background[NORMAL](session, plain, now, extras=_with_reducer(reducer))

    def _submit_many(self, session: Session, body: bytes, now: float) -> None:
        """Our extension `submit-many`: background jobs that differ only in their workloads.

        Jobs of which nothing is special are made together. Others are submitted one after the other, as if each had
        come in a packet of its own, and are answered so.
        """
        name, queue, workloads = take_many_apart(body)
        session.yield_turn()  # it is the work of many packets
        function = self.functions.by_name.get(name)
        if function is None or function.limits is not None or self._is_durable or self._events.wants_jobs:
            self._submit_each(session, name, queue, workloads, now)
            return
        try:
            handles = self._plain.make(function, queue, workloads, now)
        except RefusedError:
            self._submit_each(session, name, queue, workloads, now)
            return
        session.reply(jobs_created(handles))
        if function.sleepers or function.broad_workers:
            self._wake(function, len(handles))

    def _submit_each(self, session: Session, name: bytes, queue: int, workloads: list[bytes], now: float) -> None:
        for workload in workloads:
            try:
                self.background[queue](session, b"", now, parts=(name, b"", workload))
            except RefusedError as refusal:
                session.reply(error(refusal.code, refusal.text))
                self._events.emit(RequestRefused(session.identity, refusal.code, refusal.text))

    def _submitter(self, priority: int, *, is_background: bool) -> Submit:
        """Make the function that carries out one kind of submission, and returns the job, a new or an existing one.

        It is the hottest path of all: split into six methods, codec and broker took a tenth longer (measured).
        """
        life, events, new_handle, jobs = self.life, self._events, self.table.new_handle, self.table.jobs
        by_key, find_by_key = self.table.by_key, self.table.find_by_key
        find_function, create_function = self.functions.by_name.get, self.functions.create
        durability, outlived = self.durability, self.table.outlived
        is_written_first = durability.is_written_first
        promises = is_background and self._is_durable
        note_key = self._note_promised_key if promises else self.table.note_key
        promise = durability.acknowledge if promises else self._listen
        is_answered_at_once = is_background and not self._is_durable

        def submit(
            session: Session | None,
            body: bytes,
            now: float,
            run_at: float | None = None,
            extras: Extras | None = None,
            parts: tuple[bytes, bytes, bytes] | None = None,
        ) -> Job | None:
            try:
                name, unique, workload = parts or body.split(b"\0", 2)
            except ValueError:
                raise MalformedPacketError("a submission takes function, unique and workload") from None
            function = find_function(name) or create_function(name)
            key = None
            if unique:
                is_own = len(unique) <= MAX_UNIQUE_BYTES and unique != b"-"
                key = unique if is_own else _checked_key(unique, workload)
                known = find_by_key(function, key) if key is not None and key in by_key else None
                if known is not None:
                    self._coalesce(session, known, is_background=is_background)
                    return known
                if outlived and (name, unique) in outlived:
                    self._answer_ended(session, outlived[name, unique], is_background=is_background)
                    return None
            if function.limits is not None and function.is_full_for(priority):
                raise RefusedError(b"QUEUE_ERROR", b"Job queue is full")
            handle = new_handle()
            job = jobs[handle] = Job(handle, function, unique, workload, priority, now)
            job.is_background = is_background
            job.extras = extras
            if key is not None:
                note_key(key, job)
            if run_at is None or not life.delay_until(job, run_at, now):
                if promises and (durability.is_holding or (job.extras is not None and is_written_first(job.extras))):
                    life.hold(job)
                else:
                    function.queues[priority].append(job)
            if is_answered_at_once and session is not None:
                session.reply(JOB_CREATED_HEADERS[len(handle)] + handle)  # as `job_created`
            else:
                promise(session, job)
            if function.sleepers or function.broad_workers or function.counts is not None or events.wants_jobs:
                self.announce(job)
            return job

        return submit

    def _note_promised_key(self, key: CoalescingKey, job: Job) -> None:
        """Note the unique key of a durable job, which may hold for a cluster."""
        self.table.note_key(key, job)
        if job.function.policy.is_unique_in_cluster:
            self.durability.share_key(job)

    def _coalesce(self, session: Session | None, job: Job, *, is_background: bool) -> None:
        """Join an existing job. If any submission was in the background, the job runs even if all clients leave."""
        if is_background and not job.is_background:
            job.is_background = True
            self.durability.share_key(job)
        if is_background and self._is_durable:
            self.durability.acknowledge(session, job)
        elif not is_background:
            self._listen(session, job)
            if job.record is not WRITTEN:  # else it is held because a worker may have it (the room `orphans`)
                self.life.release_held((job,))
        elif session is not None:
            session.reply(job_created(job.handle))
        if job.function.counts is not None:
            job.function.counts[job.priority].coalesced += 1
        if self._events.wants_jobs:
            self._events.emit(JobCoalesced(job.handle, job.function.name))

    def answer_known(self, session: Session, handle: bytes, *, is_background: bool) -> None:
        """Answer a submission of a job that is known, whether it has ended or not.

        Raises:
            RefusedError: it has ended, and a foreground client would wait for its end.
        """
        job = self.table.jobs.get(handle)
        if job is not None and job.state is not CANCELLED:
            self._coalesce(session, job, is_background=is_background)
        else:
            self._answer_ended(session, handle, is_background=is_background)

    def _answer_ended(self, session: Session | None, handle: bytes, *, is_background: bool) -> None:
        """Answer a submission whose unique key is still that of a job that has ended."""
        if session is None or not is_background:
            raise RefusedError(DUPLICATE, b"Its key is known for a job that has ended: " + handle)
        session.reply(job_created(handle))

    def _listen(self, session: Session | None, job: Job) -> None:
        if session is not None:
            self.table.listen(session, job)
            session.reply(job_created(job.handle))

    def announce(self, job: Job) -> None:
        """Wake workers for a new job, count it, and tell of it."""
        function = job.function
        # After the reply: a submitter that is a worker too sees JOB_CREATED before the NOOP.
        if (function.sleepers or function.broad_workers) and job.state is QUEUED:
            self._wake(function)
        if function.counts is not None:
            function.counts[job.priority].submitted += 1
        if self._events.wants_jobs:
            self._events.emit(JobQueued(job.handle, function.name))


def take_many_apart(body: bytes) -> tuple[bytes, int, list[bytes]]:
    """The function, the queue and the workloads of a SUBMIT_JOBS.

    Raises:
        MalformedPacketError: it is none.
    """
    try:
        name, digit, count, rest = body.split(b"\0", SUBMIT_JOBS_ARGUMENTS - 1)
        priority = int(digit) if digit.isdigit() and len(digit) == 1 else -1
        if not 0 <= priority <= MAX_PRIORITY:
            raise ValueError(f"{digit[:20]!r} is no priority from 0 to {MAX_PRIORITY}")
        return name, priority_queue(priority), split_workloads(rest, count_of(count, MAX_JOBS_SUBMITTED))
    except ValueError as problem:
        raise MalformedPacketError(
            f"SUBMIT_JOBS takes function, priority, number of jobs, lengths and workloads: {problem}"
        ) from None


def _checked_key(unique: bytes, workload: bytes) -> CoalescingKey | None:
    if len(unique) > MAX_UNIQUE_BYTES:
        raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
    return coalescing_key(unique, workload)


def _with_reducer(reducer: bytes) -> JobExtras:
    extras = JobExtras()
    extras.reducer = reducer
    return extras


def _split_reduce(body: bytes) -> tuple[bytes, bytes]:
    """The body of a plain submission, and the reducer, which the server only passes on.

    libgearman sends a fourth string before the workload, which is discarded, as in gearmand. The protocol's text has
    three: clients that follow it are understood too, as long as their workload holds no zero byte.
    """
    arguments = body.split(b"\0", 4)
    if len(arguments) < 4:
        raise MalformedPacketError("a reduce job takes function, unique, reducer, one more and workload")
    name, unique, reducer = arguments[:3]
    if len(reducer) > MAX_UNIQUE_BYTES:
        raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Reducer value too large")
    return b"\0".join((name, unique, arguments[-1])), reducer


def _unix_seconds(text: bytes) -> int:
    """The time of an epoch job. gearmand takes text that is no number as 0, and reports no number out of range."""
    if _UNIX_SECONDS.fullmatch(text) and abs(int(text)) <= _MAX_UNIX_SECONDS:
        return int(text)
    raise RefusedError(b"INVALID_ARGUMENT", b"The time to run at is no whole number of seconds since 1970")
