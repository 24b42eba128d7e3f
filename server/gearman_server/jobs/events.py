"""The broker's event stream: typed values for the log, the metrics and other subscribers. Pure.

The events of every job are on the hot path: they are made only if `wants_jobs` says that somebody has subscribed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from gearman_server.jobs.access import Identity


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


class JobRequeued(NamedTuple):
    """A job went back to its queue because its worker was lost under it, gave it up, or overran its timeout."""

    handle: bytes
    function: bytes
    reason: str
    requeues: int
    priority: int


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


class ScheduleRan(NamedTuple):
    """A schedule's job was submitted."""

    name: str
    function: bytes
    handle: bytes


class ScheduleSkipped(NamedTuple):
    """The runs of a schedule since that time (Unix seconds) were missed, and are not made up for."""

    name: str
    function: bytes
    since: float


class ScheduleRefused(NamedTuple):
    """A schedule's job could not be submitted: this run is skipped."""

    name: str
    function: bytes
    reason: bytes


class ScheduleClockSet(NamedTuple):
    """A schedule's mark is at a time (Unix seconds) that is now far in the future: it begins anew."""

    name: str
    until: float


class ShutdownRequested(NamedTuple):
    """An administrator sent the text command `shutdown`; the server ends once the answer has left."""

    identity: Identity
    is_graceful: bool


class StoreFailed(NamedTuple):
    """The durable store can't be written: until it can, background submissions get an ERROR."""

    reason: str


class StoreRecovered(NamedTuple):
    """The durable store can be written again."""


class StoreLost(NamedTuple):
    """The store belongs to another server now, so this one ends."""

    reason: str


Event: TypeAlias = (
    ConnectionOpened
    | ConnectionClosed
    | FunctionRegistered
    | FunctionUnregistered
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
    | JobRequeued
    | JobReturned
    | JobDropped
    | JobBuried
    | JobRevived
    | LettersForgotten
    | ResultsForgotten
    | ScheduleRan
    | ScheduleSkipped
    | ScheduleRefused
    | ScheduleClockSet
    | ShutdownRequested
    | StoreFailed
    | StoreRecovered
    | StoreLost
)

EVERY_JOB: Final = (JobQueued, JobCoalesced, JobAssigned, JobEnded)

#: The reason of a JobRequeued whose worker kept the job longer than it had announced.
OVERRAN: Final = "its worker overran the timeout"
#: The reason of a JobFailed or AttemptFailed whose attempt took too long.
TIMEOUT: Final = b"timeout"


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
