"""The broker's event stream: typed values for the log, the metrics and other subscribers. Pure.
The events of every job are on the hot path: they are made only if `wants_jobs` says that somebody has subscribed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from gearman_server.jobs.access import Identity
from gearman_server.jobs.batch_rows import BatchEnded, BatchesForgotten, ChainBroken
from gearman_server.jobs.schedule_rules import (
    ScheduleClockSet,
    SchedulePaused,
    ScheduleRan,
    ScheduleRefused,
    ScheduleResumed,
    ScheduleSkipped,
)


class ConnectionOpened(NamedTuple):
    """A peer connected."""

    identity: Identity


class ConnectionClosed(NamedTuple):
    """A connection ended, and why."""

    identity: Identity
    client_id: bytes
    reason: str


class FunctionRegistered(NamedTuple):
    """A worker said that it can do a function."""

    identity: Identity
    client_id: bytes
    function: bytes


class FunctionUnregistered(NamedTuple):
    """A worker said that it no longer does a function."""

    identity: Identity
    client_id: bytes
    function: bytes


class FunctionPaused(NamedTuple):
    """An operator has paused a function: none of its jobs is started any more."""

    identity: Identity
    function: bytes


class FunctionResumed(NamedTuple):
    """An operator has ended a function's pause, or taken its brake off."""

    identity: Identity
    function: bytes


class FunctionHeld(NamedTuple):
    """A function's brake starts none of its jobs for so many seconds."""

    function: bytes
    hold_s: float
    reason: str


class FunctionReleased(NamedTuple):
    """A job that probed a function has succeeded, so its brake is off after so many seconds."""

    function: bytes
    held_s: float


class FunctionsForgotten(NamedTuple):
    """There are very many functions, so this many without a job and a worker were forgotten."""

    functions: int


class RequestRefused(NamedTuple):
    """A request was answered with an ERROR packet."""

    identity: Identity
    code: bytes
    text: bytes


class ForeignRequest(NamedTuple):
    """A peer spoke another protocol, so its connection is closed and nothing of its request is carried out."""

    identity: Identity
    protocol: str
    line: bytes


class JobQueued(NamedTuple):
    """A job was accepted."""

    handle: bytes
    function: bytes


class JobCoalesced(NamedTuple):
    """A submission was merged into an existing job."""

    handle: bytes
    function: bytes


class JobDue(NamedTuple):
    """A delayed job's time has come: it entered its queue."""

    handle: bytes
    function: bytes


class JobAssigned(NamedTuple):
    """A job was given to a worker."""

    handle: bytes
    function: bytes
    worker: Identity


class JobEnded(NamedTuple):
    """A worker ended a job; `how` is the name of the packet."""

    handle: bytes
    function: bytes
    how: str


class JobFailed(NamedTuple):
    """A job that somebody wanted has failed for good, after so many attempts.

    is_counted: its worker said so itself; then the failure is in the function's counts already.
    """

    handle: bytes
    function: bytes
    reason: bytes
    attempts: int
    priority: int
    is_counted: bool = False


class AttemptFailed(NamedTuple):
    """An attempt failed, and another follows after `wait_s`; `attempts` are over."""

    handle: bytes
    function: bytes
    reason: bytes
    attempts: int
    wait_s: float
    priority: int


class JobThrottled(NamedTuple):
    """A worker put its job back, and had its key or its function held for `wait_s`; that counts as no attempt."""

    handle: bytes
    function: bytes
    held: str
    wait_s: float
    reason: bytes
    priority: int


class JobRequeued(NamedTuple):
    """A job went back to its queue because its worker was lost under it, gave it up, or overran its timeout."""

    handle: bytes
    function: bytes
    reason: str
    requeues: int
    priority: int


class JobGoesOn(NamedTuple):
    """The worker of a job goes on with it, though its server is gone."""

    handle: bytes
    function: bytes
    worker: bytes


class JobReturned(NamedTuple):
    """A job went back to its queue unfinished, which counts as no attempt."""

    handle: bytes
    function: bytes
    reason: str


class JobDropped(NamedTuple):
    """A job will not run (again): cancelled, or abandoned by its clients."""

    handle: bytes
    function: bytes
    reason: str
    priority: int


class JobExpired(NamedTuple):
    """A job was not begun before its time was over, so it will not run (again)."""

    handle: bytes
    function: bytes
    priority: int


class StopOutcome(Enum):
    """What became of a job that was stopped while a worker had it."""

    #: Its worker has answered, whatever it said.
    ANSWERED = "answered"
    #: Its worker was lost, or gave it up.
    LOST = "lost"
    #: It had not been begun, and was taken back.
    NOT_BEGUN = "not begun"
    #: Its worker was told and did not react in time: it goes on for nothing.
    OVERDUE = "overdue"
    #: Its worker can't be told: it goes on for nothing.
    UNTOLD = "untold"
    #: The server ended before the worker had answered.
    SERVER_ENDED = "server ended"

    def __str__(self) -> str:
        return str(self.value)


class JobStopped(NamedTuple):
    """A job that a worker had is over because it was stopped."""

    handle: bytes
    function: bytes
    outcome: StopOutcome
    priority: int


class JobBuried(NamedTuple):
    """A background job failed for good; its dead letter is kept."""

    handle: bytes
    function: bytes
    error: bytes
    attempts: int
    priority: int


class JobRevived(NamedTuple):
    """A dead job was queued again."""

    handle: bytes
    function: bytes
    priority: int


class LettersForgotten(NamedTuple):
    """Dead letters are no longer kept."""

    letters: int
    reason: str


class ResultsForgotten(NamedTuple):
    """There are too many results of background jobs, so this many were dropped before their time."""

    results: int


class KeysForgotten(NamedTuple):
    """There are too many ids of submissions and kept unique keys, so this many are no longer known."""

    keys: int


class ShutdownRequested(NamedTuple):
    """An administrator sent the text command `shutdown`; the server ends once the answer has left."""

    identity: Identity
    is_graceful: bool


class StoreFailed(NamedTuple):
    """The durable store can't be written: until it can, background submissions get an ERROR."""

    reason: str


class StoreRecovered(NamedTuple):
    """The durable store can be written again."""


class StoreFenced(NamedTuple):
    """Other servers share the store, and have taken over the jobs of this one."""


class StoreLost(NamedTuple):
    """The store belongs to another server now, so this one ends."""

    reason: str


Event: TypeAlias = (
    ConnectionOpened
    | ConnectionClosed
    | FunctionRegistered
    | FunctionUnregistered
    | FunctionPaused
    | FunctionResumed
    | FunctionHeld
    | FunctionReleased
    | FunctionsForgotten
    | RequestRefused
    | ForeignRequest
    | JobQueued
    | JobDue
    | JobCoalesced
    | JobAssigned
    | JobEnded
    | JobFailed
    | AttemptFailed
    | JobThrottled
    | JobRequeued
    | JobGoesOn
    | JobReturned
    | JobDropped
    | JobExpired
    | JobStopped
    | JobBuried
    | JobRevived
    | LettersForgotten
    | ResultsForgotten
    | KeysForgotten
    | BatchEnded
    | BatchesForgotten
    | ChainBroken
    | ScheduleRan
    | ScheduleSkipped
    | ScheduleRefused
    | ScheduleClockSet
    | SchedulePaused
    | ScheduleResumed
    | ShutdownRequested
    | StoreFailed
    | StoreRecovered
    | StoreLost
    | StoreFenced
)

EVERY_JOB: Final = (JobQueued, JobCoalesced, JobAssigned, JobEnded)


class EventStream:
    """Hands each event to the subscribers of its type, in the order of their subscription."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Event], list[Callable[[Event], None]]] = {}
        self.wants_jobs = False

    def subscribe(self, receive: Callable[[Event], None], *types: type[Event]) -> None:
        """Call `receive` with every event of these types. It must neither raise nor call the broker."""
        for event_type in types:
            self._subscribers.setdefault(event_type, []).append(receive)
        self.wants_jobs = any(event_type in self._subscribers for event_type in EVERY_JOB)

    def emit(self, event: Event) -> None:
        """Hand the event to its subscribers."""
        for receive in self._subscribers.get(type(event), ()):
            receive(event)
