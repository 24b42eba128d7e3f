"""Ends of attempts, and of jobs that had none: the words for them, and who is told. Pure.

`Endings.note` and `note_success` are told of every end, if somebody keeps the ends (`ending/late_ends`). The events are
those of jobs that are dropped or stopped; the events of other ends are emitted where these happen.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import EventStream, JobDropped, JobStopped, StopOutcome

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session

#: The reason for the end of a job that was stopped, also for clients that asked for exceptions.
STOPPED: Final = "stopped"
CANCELLED_IN_TIME: Final = "cancelled"
CANCELLED_WHILE_IT_RAN: Final = "cancelled while it ran"
PURGED: Final = "purged"
#: Reasons for which somebody cancelled a job. For any other one it is dropped.
_BY_SOMEBODY: Final = (CANCELLED_IN_TIME, CANCELLED_WHILE_IT_RAN, PURGED)


class End(Enum):
    """How an attempt ended, or a job that had none."""

    __hash__ = object.__hash__

    COMPLETE = b"complete"
    #: The worker gave no reason.
    FAILED = b"failed"
    #: The worker gave a reason.
    EXCEPTION = b"exception"
    #: It took longer than the function's policy allows.
    TIMEOUT = b"timeout"
    #: The worker was lost, gave the job up, or took longer than it had announced.
    LOST = b"lost"
    STOPPED = b"stopped"
    CANCELLED = b"cancelled"
    #: It was not begun in time.
    EXPIRED = b"expired"
    #: It was not cancelled, but will not run: its clients have left, its function was dropped.
    DROPPED = b"dropped"
    #: It went back to its queue unfinished, which counts as no attempt.
    RETURNED = b"returned"
    #: Its worker put it back, and had its key or its function held.
    THROTTLED = b"throttled"


class Sequel(Enum):
    """What follows."""

    __hash__ = object.__hash__

    #: The job is over.
    NOTHING = b""
    #: Another attempt, now or later.
    RETRY = b"retry"
    #: The job is over, and a dead letter is kept.
    DEAD = b"dead"


#: Takes a job that is as it was when the attempt ended, the worker that had it, and the reason.
Note = Callable[["Job", "Session | None", End, Sequel, bytes], None]
#: Takes a job that is complete, its worker, and the first `RESULT_BYTES` of the result.
NoteSuccess = Callable[["Job", "Session", bytes], None]
RESULT_BYTES: Final = 256


class Endings:
    """Tells of ends."""

    def __init__(self, events: EventStream) -> None:
        self._events = events
        #: Are told of every end. None: nobody keeps them.
        self.note: Note | None = None
        self.note_success: NoteSuccess | None = None

    def dropped(self, job: Job, reason: str, worker: Session | None = None, *, is_noted: bool = True) -> None:
        """The job will not run (again); that worker had it. Not noted: its end was told already."""
        if is_noted and self.note is not None:
            how = End.CANCELLED if reason in _BY_SOMEBODY else End.DROPPED
            self.note(job, worker, how, Sequel.NOTHING, reason.encode())
        self._events.emit(JobDropped(job.handle, job.function.name, reason, job.priority))

    def stopped(self, job: Job, outcome: StopOutcome, worker: Session | None = None) -> None:
        """The job is over because it was stopped; that worker had it."""
        if self.note is not None:
            self.note(job, worker, End.STOPPED, Sequel.NOTHING, str(outcome).encode())
        self._events.emit(JobStopped(job.handle, job.function.name, outcome, job.priority))
