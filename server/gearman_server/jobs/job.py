"""A job, its states and what leads from one to the other. Pure data: `job_life` is where a job's state changes.

There can be millions of these at once, so every slot counts: what few jobs have is in an object of its own, and what
can be derived is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.session import WithheldReply

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.session import Session

HIGH: Final = 0
NORMAL: Final = 1
LOW: Final = 2
PRIORITIES: Final = (HIGH, NORMAL, LOW)
PRIORITY_NAMES: Final = ("high", "normal", "low")

#: What `coalescing_key` gives: jobs of one function with equal keys are one job.
CoalescingKey = bytes | tuple[bytes, bytes]


class JobState(Enum):
    """Where a job is."""

    # Each job's state is looked up twice in the tables below; Enum's own hash is a call of Python.
    __hash__ = object.__hash__

    #: Its time, or that of its next attempt, has not come: it is in no queue yet.
    DELAYED = "delayed"
    QUEUED = "queued"
    RUNNING = "running"
    #: A worker still has it, but it was cancelled: nobody hears of its outcome, and it is never run again.
    CANCELLED = "cancelled"
    ENDED = "ended"


# A look-up in an enum costs as much as ten in a module, and there are three for every job.
QUEUED: Final = JobState.QUEUED
DELAYED: Final = JobState.DELAYED
RUNNING: Final = JobState.RUNNING
CANCELLED: Final = JobState.CANCELLED
ENDED: Final = JobState.ENDED

_WAITING: Final = (QUEUED, DELAYED)

# The table of transitions: for each event the states that allow it, and the state that each of them leads to. From any
# other the look-up raises KeyError, and nothing has changed. A new job is QUEUED before it is in its queue.
#: It enters its queue: for the first time, because its time has come, or because an attempt came to nothing.
ENQUEUE: Final = {QUEUED: QUEUED, DELAYED: QUEUED, RUNNING: QUEUED}
#: It has to wait for its time, or for that of its next attempt.
DELAY: Final = {QUEUED: DELAYED, RUNNING: DELAYED}
#: It is given to a worker.
ASSIGN: Final = {QUEUED: RUNNING}
#: It is cancelled while it runs.
CANCEL: Final = {RUNNING: CANCELLED}
#: It is over.
END: Final = {QUEUED: ENDED, DELAYED: ENDED, RUNNING: ENDED, CANCELLED: ENDED}


class JobRecord(WithheldReply):
    """A job's row in the store, and while it is being inserted the reply that waits for it.

    Both in one object: there is one for every durable job.
    """

    __slots__ = ("others",)

    def __init__(self, session: Session | None = None) -> None:
        self.session = session
        self.packet = None
        self.behind = None
        #: Replies to those who submitted the same job meanwhile.
        self.others: list[WithheldReply] | None = None


#: Shared by all jobs whose row is written: there can be millions, and nothing more is to be known of their rows.
WRITTEN: Final = JobRecord()


class Recording:
    """The data and warnings of an attempt that is going on, where the result is to be kept."""

    __slots__ = ("lost_bytes", "packets", "size_bytes")

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.size_bytes = 0
        self.lost_bytes = 0


class JobHistory:
    """A job's attempts that came to nothing: kept only for those jobs of which not all went well."""

    __slots__ = ("error", "failures", "first_started", "last_started", "losses", "not_before", "traceback")

    def __init__(self, first_started: float) -> None:
        #: Attempts that failed: the worker said so, or the time was up.
        self.failures = 0
        #: Attempts whose worker was lost.
        self.losses = 0
        #: When the first and the last of these attempts began (monotonic seconds).
        self.first_started = first_started
        self.last_started = first_started
        #: What the last failure said, and where in the code it happened, as far as the worker told.
        self.error = b""
        self.traceback = b""
        #: While it waits for its next attempt: when that may begin (Unix seconds).
        self.not_before: float | None = None

    @property
    def attempts(self) -> int:
        """How many attempts are over."""
        return self.failures + self.losses


class JobExtras:
    """What few jobs have, or only while they run."""

    __slots__ = ("deadline", "history", "progress", "recording", "reducer", "run_at")

    def __init__(self) -> None:
        #: Numerator and denominator as the worker sent them.
        self.progress: tuple[bytes, bytes] | None = None
        #: What its worker said on the way, where the result is to be kept.
        self.recording: Recording | None = None
        self.reducer: bytes | None = None
        #: Before this time (Unix seconds) it is not run; None = it never had to wait.
        self.run_at: int | None = None
        #: When its worker loses it (monotonic seconds), if there is a limit.
        self.deadline: float | None = None
        #: Its attempts that came to nothing; None while there are none.
        self.history: JobHistory | None = None


_NO_EXTRAS: Final = JobExtras()


class Job:
    """One call of a function, from its submission to its end."""

    __slots__ = (
        "background",
        "extras",
        "function",
        "handle",
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
        #: Some submission asked for it in the background: it runs whether or not a client waits for it.
        self.background = False
        #: The sessions that are told of its progress and its end; one that submitted it twice is here twice.
        self.listeners: Sequence[Session] = ()
        self.worker: Session | None = None
        #: When it was submitted, and when it got into its queue or to its worker (monotonic seconds).
        self.submitted = self.since = now
        #: What few jobs have: read by way of `rare`, written by way of `with_extras`.
        self.extras: JobExtras | None = None
        #: Its row in a durable store; None while it lives in memory alone.
        self.record: JobRecord | None = None

    @property
    def history(self) -> JobHistory | None:
        """Its attempts that came to nothing; None while there are none."""
        return None if self.extras is None else self.extras.history

    @property
    def attempt(self) -> int:
        """Which attempt this is, or the next one will be, from 1."""
        history = self.history
        return 1 if history is None else history.attempts + 1

    @property
    def requeues(self) -> int:
        """How often a worker was lost under it."""
        history = self.history
        return 0 if history is None else history.losses

    @property
    def rare(self) -> JobExtras:
        """What few jobs have, to be read."""
        return self.extras or _NO_EXTRAS

    def with_extras(self) -> JobExtras:
        """What few jobs have, to be written."""
        if self.extras is None:
            self.extras = JobExtras()
        return self.extras

    @property
    def is_waiting(self) -> bool:
        """Whether it has yet to be given to a worker, now or again."""
        return self.state in _WAITING

    @property
    def is_wanted(self) -> bool:
        """Whether it is worth running (again): somebody waits for it, or it was promised to run."""
        return self.state is not CANCELLED and (self.background or bool(self.listeners))


def coalescing_key(unique: bytes, workload: bytes) -> CoalescingKey | None:
    """What makes two submissions to one function the same job, None when nothing does. `-` stands for the workload."""
    if unique != b"-":
        return unique or None
    return (unique, workload) if workload else None
