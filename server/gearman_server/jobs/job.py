"""A job, its states and the transitions between them. Pure data: a job's state changes only in `job_life`.

There can be millions of jobs at once, so every slot counts: properties that few jobs have are in an object of their
own, and a value that can be derived is not stored.
"""

from __future__ import annotations

from collections.abc import Collection
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
    #: A worker still has it, but it was cancelled: nobody is told of its outcome, and it is never run again.
    CANCELLED = "cancelled"
    ENDED = "ended"


# A look-up in an enum costs as much as ten in a module, and every job needs three.
QUEUED: Final = JobState.QUEUED
DELAYED: Final = JobState.DELAYED
HELD: Final = JobState.HELD
RUNNING: Final = JobState.RUNNING
CANCELLED: Final = JobState.CANCELLED
ENDED: Final = JobState.ENDED

_WAITING: Final = (QUEUED, DELAYED, HELD)

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
#: It is cancelled while it runs.
CANCEL: Final = {RUNNING: CANCELLED}
#: It is over.
END: Final = {QUEUED: ENDED, DELAYED: ENDED, HELD: ENDED, RUNNING: ENDED, CANCELLED: ENDED}


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
    """Properties that few jobs have, or only while they run."""

    __slots__ = ("deadline", "history", "is_alone", "progress", "recording", "reducer", "run_at")

    def __init__(self) -> None:
        #: Numerator and denominator, as the worker sent them.
        self.progress: tuple[bytes, bytes] | None = None
        #: The worker's data and warnings so far, if the result is to be kept.
        self.recording: Recording | None = None
        self.reducer: bytes | None = None
        #: It is not run before this time (Unix seconds); None = it never had to wait.
        self.run_at: int | None = None
        #: When its worker loses it (monotonic seconds); None = no limit.
        self.deadline: float | None = None
        #: Its failed and lost attempts; None while there are none.
        self.history: JobHistory | None = None
        #: Whether a worker was lost that held it, but had not begun it: it is given out alone from now on.
        self.is_alone = False


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
        self.extras: JobExtras | None = None
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
    def rare(self) -> JobExtras:
        """The properties that few jobs have, to be read only."""
        return self.extras or _NO_EXTRAS

    def with_extras(self) -> JobExtras:
        """The properties that few jobs have, to be written."""
        if self.extras is None:
            self.extras = JobExtras()
        return self.extras

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
        return self.state is not CANCELLED and (self.is_background or bool(self.listeners))


def coalescing_key(unique: bytes, workload: bytes) -> CoalescingKey | None:
    """The key that makes two submissions to one function the same job, or None. The unique `-` means the workload."""
    if unique != b"-":
        return unique or None
    return (unique, workload) if workload else None
