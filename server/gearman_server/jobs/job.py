"""A job, its states and the transitions between them. Pure data: a job's state changes only in `job_life`.

There can be millions of jobs at once, so every slot counts: properties that few jobs have are in an object of their
own, and a value that can be derived is not stored.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final

from gearman_server.jobs.policies import with_options
from gearman_server.jobs.session import WithheldReply
from gearman_server.options.job_options import joined, key_of

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.policies import FunctionPolicy
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.throttle import RunningCount
    from gearman_server.options.job_options import JobOptions, SubmissionOptions

HIGH: Final = 0
NORMAL: Final = 1
LOW: Final = 2
PRIORITIES: Final = (HIGH, NORMAL, LOW)
PRIORITY_NAMES: Final = ("high", "normal", "low")

#: The result of `coalescing_key`: submissions to one function with equal keys are one job.
CoalescingKey = bytes | tuple[bytes, bytes]


class JobState(Enum):
    """The state of a job."""

    # The tables below look up each job's state twice, and Enum's own hash is a Python call.
    __hash__ = object.__hash__

    #: Its time, or the time of its next attempt, has not come: it is in no queue yet.
    DELAYED = "delayed"
    #: Its insert into the store is late: it is in no queue before it is written.
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    #: A worker has it, and is to stop it: it is never run again, and its clients hear of its end once it has stopped.
    STOPPING = "stopping"
    #: A worker still has it, but it was cancelled: nobody is told of its outcome, and it is never run again.
    CANCELLED = "cancelled"
    ENDED = "ended"


# A look-up in an enum costs as much as ten in a module, and every job needs three.
QUEUED: Final = JobState.QUEUED
DELAYED: Final = JobState.DELAYED
HELD: Final = JobState.HELD
RUNNING: Final = JobState.RUNNING
STOPPING: Final = JobState.STOPPING
CANCELLED: Final = JobState.CANCELLED
ENDED: Final = JobState.ENDED

_WAITING: Final = (QUEUED, DELAYED, HELD)
_UNWANTED: Final = (STOPPING, CANCELLED)

# The table of transitions: for each event the states that allow it, and the state to which each of them leads. In any
# other state the look-up raises KeyError, and nothing changes. A new job is QUEUED even before it is in its queue.
#: It enters its queue: it is new, its time has come, it is written, or an attempt failed.
ENQUEUE: Final = {QUEUED: QUEUED, DELAYED: QUEUED, HELD: QUEUED, RUNNING: QUEUED}
#: It has to wait for its time, or for the time of its next attempt.
DELAY: Final = {QUEUED: DELAYED, RUNNING: DELAYED}
#: It has to wait until it is written.
HOLD: Final = {QUEUED: HELD, DELAYED: HELD}
#: It is given to a worker.
ASSIGN: Final = {QUEUED: RUNNING}
#: Its worker is told to stop it.
STOP: Final = {RUNNING: STOPPING}
#: It is cancelled while it runs, or is over for its clients although its worker did not stop it.
CANCEL: Final = {RUNNING: CANCELLED, STOPPING: CANCELLED}
#: It belongs to another server, and its worker has it still.
CEDE: Final = {RUNNING: CANCELLED, STOPPING: CANCELLED}
#: It is over.
END: Final = {QUEUED: ENDED, DELAYED: ENDED, HELD: ENDED, RUNNING: ENDED, STOPPING: ENDED, CANCELLED: ENDED}


class JobRecord(WithheldReply):
    """A job's row in the store, and the reply that waits until the row is inserted.

    Both are in one object because every durable job has one.
    """

    __slots__ = ("others",)

    def __init__(self, session: Session | None = None) -> None:
        self.session = session
        self.packet = None
        self.behind = None
        #: Replies to others that submitted the same job meanwhile.
        self.others: list[WithheldReply] | None = None


#: Shared by all jobs whose row is written: there can be millions, and their records hold nothing any more.
WRITTEN: Final = JobRecord()


class Recording:
    """The data and warnings of the current attempt, if the result is to be kept."""

    __slots__ = ("lost_bytes", "packets", "size_bytes")

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.size_bytes = 0
        self.lost_bytes = 0


class JobHistory:
    """A job's failed and lost attempts. Jobs without any have no history."""

    __slots__ = ("error", "failures", "first_started", "last_started", "losses", "not_before", "traceback")

    def __init__(self, first_started: float) -> None:
        #: Attempts that failed: the worker said so, or the time ran out.
        self.failures = 0
        #: Attempts whose worker was lost.
        self.losses = 0
        #: When the first and the last of these attempts began (monotonic seconds).
        self.first_started = first_started
        self.last_started = first_started
        #: The text and the traceback of the last failure, as far as the worker sent them.
        self.error = b""
        self.traceback = b""
        #: While the job waits for its next attempt: when that may begin (Unix seconds).
        self.not_before: float | None = None

    @property
    def attempts(self) -> int:
        """How many attempts are over."""
        return self.failures + self.losses


class JobExtras:
    """Properties that few jobs have, or only while they run.

    No slots: the defaults are the class's, so that one with two properties is made in a third of the time (measured).
    """

    #: Numerator and denominator, as the worker sent them.
    progress: tuple[bytes, bytes] | None = None
    #: The first part of the data that its worker sent last, if it is a background job: people look at it.
    data: bytes = b""
    #: The worker's data and warnings so far, if the result is to be kept.
    recording: Recording | None = None
    reducer: bytes | None = None
    #: It is not run before this time (Unix seconds); None = it never had to wait.
    run_at: float | None = None
    #: It is not worth to be begun any more after this time (Unix seconds); None = it always is.
    expires_at: float | None = None
    #: Those of its options that many jobs have in common; None = it brought none.
    options: JobOptions | None = None
    #: The pairs of those that are its own, its key among them; empty: none.
    own: bytes = b""
    #: What limits and fairness within its function go by; empty: none.
    key: bytes = b""
    #: The id of its submission; empty: it has none.
    submission: bytes = b""
    #: Whether its unique key holds for all servers of a cluster until it ends.
    is_key_shared = False
    #: While it waits in the line of its key: its place among all jobs in its queue; else None.
    order: int | None = None
    #: While it runs, and the running jobs of its key have a limit: their number; else None.
    counted_in: RunningCount | None = None
    #: How far it had come at its last checkpoint, in its worker's words; None = there was none.
    cursor: bytes | None = None
    #: When its worker loses it (monotonic seconds); None = no limit.
    deadline: float | None = None
    #: Its failed and lost attempts; None while there are none.
    history: JobHistory | None = None
    #: Whether a worker was lost that held it, but had not begun it: it is given out alone from now on.
    is_alone = False


class OptionsAlone:
    """Stands in the place of `JobExtras` for a job that has options, and nothing else of what few jobs have.

    Jobs with equal options share one, unless these have pairs of their own: nobody changes anything of it but what is
    said of its key, and that only if it has such pairs. `Job.with_extras` makes a JobExtras of it.
    """

    __slots__ = ("counted_in", "options", "order", "own")

    options: JobOptions | None
    own: bytes
    #: While the job waits in the line of its key: its place among all jobs in its queue; else None.
    order: int | None
    #: While it runs, and the running jobs of its key have a limit: their number; else None.
    counted_in: RunningCount | None

    progress: ClassVar[None] = None
    data: ClassVar[bytes] = b""
    recording: ClassVar[None] = None
    reducer: ClassVar[None] = None
    run_at: ClassVar[None] = None
    expires_at: ClassVar[None] = None
    submission: ClassVar[bytes] = b""
    is_key_shared: ClassVar[bool] = False
    cursor: ClassVar[None] = None
    deadline: ClassVar[None] = None
    history: ClassVar[None] = None
    is_alone: ClassVar[bool] = False

    @property
    def key(self) -> bytes:
        """What limits and fairness within its function go by; empty: none."""
        return key_of(self.own)


Extras = JobExtras | OptionsAlone

#: Options that take more are no `OptionsAlone`: their rows are not written many at a time.
_ALONE_BYTES: Final = 1024


def extras_of(options: SubmissionOptions) -> Extras | None:
    """What a new job with these options gets; None: nothing."""
    job, own = options.job, options.own
    if options.are_alone:
        if job is None and not own:
            return None
        if len(own) + (0 if job is None else len(job.stored)) <= _ALONE_BYTES:
            alone = OptionsAlone()
            alone.options, alone.own = job, own
            alone.order = alone.counted_in = None
            return alone
    extras = JobExtras()
    extras.options, extras.own, extras.key = job, own, options.key
    extras.submission, extras.reducer = options.submission, options.reducer
    return extras


_NO_EXTRAS: Final = JobExtras()


class Job:
    """One call of a function, from its submission to its end."""

    __slots__ = (
        "extras",
        "function",
        "handle",
        "is_background",
        "listeners",
        "priority",
        "record",
        "since",
        "state",
        "submitted",
        "unique",
        "worker",
        "workload",
    )

    def __init__(
        self, handle: bytes, function: Function, unique: bytes, workload: bytes, priority: int, now: float
    ) -> None:
        self.handle = handle
        self.function = function
        self.unique = unique
        self.workload = workload
        self.priority = priority
        self.state = QUEUED
        #: A submission asked for it in the background: it runs whether or not a client waits for it.
        self.is_background = False
        #: The sessions that are told of its progress and its end; a session that submitted it twice is here twice.
        self.listeners: Collection[Session] = ()
        self.worker: Session | None = None
        #: When it was submitted, and when it entered its queue or was given to its worker (monotonic seconds).
        self.submitted = self.since = now
        #: Properties that few jobs have; read them through `rare`, write them through `with_extras`.
        self.extras: Extras | None = None
        #: Its row in a durable store; None while it is only in memory.
        self.record: JobRecord | None = None

    @property
    def history(self) -> JobHistory | None:
        """Its failed and lost attempts; None while there are none."""
        return None if self.extras is None else self.extras.history

    @property
    def attempt(self) -> int:
        """The number of this attempt, or of the next one if none is running, from 1."""
        history = self.history
        return 1 if history is None else history.attempts + 1

    @property
    def requeues(self) -> int:
        """How often a worker was lost under it."""
        history = self.history
        return 0 if history is None else history.losses

    @property
    def policy(self) -> FunctionPolicy:
        """The rules for it: its own options, and else those of its function."""
        options = None if self.extras is None else self.extras.options
        return self.function.policy if options is None else with_options(self.function.policy, options)

    @property
    def timeout_s(self) -> float | None:
        """The longest time of one attempt, in seconds; None = no limit."""
        options = None if self.extras is None else self.extras.options
        if options is None or options.timeout_s is None:
            return self.function.policy.timeout_s
        return options.timeout_s or None

    @property
    def keep_result_s(self) -> float | None:
        """How long its result is kept, in seconds; None = not at all."""
        options = None if self.extras is None else self.extras.options
        if options is None or options.keep_result_s is None:
            return self.function.keep_result_s
        return options.keep_result_s or None

    @property
    def key(self) -> bytes:
        """Its key, by which limits and fairness within its function go; empty: none."""
        return b"" if self.extras is None else self.extras.key

    @property
    def kept_pairs(self) -> bytes:
        """The pairs of its options, as they are stored and shown."""
        extras = self.extras
        if extras is None:
            return b""
        pairs = joined(b"" if extras.options is None else extras.options.stored, extras.own)
        return joined(pairs, b"submission=" + extras.submission) if extras.submission else pairs

    @property
    def told_pairs(self) -> bytes:
        """Those that its worker is told."""
        extras = self.extras
        return b"" if extras is None else joined(b"" if extras.options is None else extras.options.told, extras.own)

    @property
    def followed(self) -> JobOptions | None:
        """Its options, if anything follows its end; such a job is not given out before its row is written."""
        options = None if self.extras is None else self.extras.options
        return options if options is not None and options.is_followed else None

    @property
    def rare(self) -> Extras:
        """The properties that few jobs have, to be read only."""
        return self.extras or _NO_EXTRAS

    def with_extras(self) -> JobExtras:
        """The properties that few jobs have, to be written."""
        extras = self.extras
        if isinstance(extras, JobExtras):
            return extras
        written = self.extras = JobExtras()
        if extras is not None:
            written.options, written.own, written.key = extras.options, extras.own, extras.key
            written.order, written.counted_in = extras.order, extras.counted_in
        return written

    def with_place(self) -> Extras:
        """The properties of which `order` and `counted_in` may be written."""
        extras = self.extras
        return extras if extras is not None and extras.own else self.with_extras()

    def end_limits(self) -> None:
        """Its worker has it no longer: it has no deadline, and does not count among the running jobs of its key."""
        extras = self.extras
        if isinstance(extras, JobExtras):
            extras.deadline = None
        if extras is not None and extras.counted_in is not None:
            extras.counted_in.note_end()
            extras.counted_in = None

    @property
    def may_be_one_of_several(self) -> bool:
        """Whether it may be given out with others: not if it is under suspicion to have ended a worker."""
        extras = self.extras
        return extras is None or not (extras.is_alone or (extras.history is not None and extras.history.losses))

    @property
    def is_waiting(self) -> bool:
        """Whether it waits to be given to a worker, for the first time or again."""
        return self.state in _WAITING

    @property
    def is_wanted(self) -> bool:
        """Whether it should run (again): a client waits for it, or it was submitted in the background."""
        return self.state not in _UNWANTED and (self.is_background or bool(self.listeners))


def coalescing_key(unique: bytes, workload: bytes) -> CoalescingKey | None:
    """The key that makes two submissions to one function the same job, or None. The unique `-` means the workload."""
    if unique != b"-":
        return unique or None
    return (unique, workload) if workload else None
