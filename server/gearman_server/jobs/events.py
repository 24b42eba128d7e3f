"""The broker's event stream: what happened, as typed values, for the log, metrics and whoever watches. Pure.

Events of every job are the hot path: they are only made when somebody subscribed to them, which `wants_jobs` tells.
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
    """There are very many functions: so many that had no job and no worker are no longer known."""

    functions: int


class RequestRefused(NamedTuple):
    """A request was answered with an ERROR packet."""

    identity: Identity
    code: bytes
    text: bytes


class JobQueued(NamedTuple):
    """A job was accepted."""

    handle: bytes
    function: bytes


class JobCoalesced(NamedTuple):
    """One more submission of a job that there is already."""

    handle: bytes
    function: bytes


class JobDue(NamedTuple):
    """The time that a job had to wait for has come: it entered its queue."""

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
    """A job's last attempt was ended from outside: the worker's supervisor, or the server's own timer, called it
    failed."""

    handle: bytes
    function: bytes
    reason: bytes
    priority: int


class AttemptFailed(NamedTuple):
    """An attempt failed, and the job will have another one in so many seconds; `attempts` are over."""

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


class JobDropped(NamedTuple):
    """A job will not run (again): cancelled, abandoned by its clients, or out of attempts."""

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
    """There are too many results of background jobs: so many are not kept as long as they should be."""

    results: int


class ScheduleRan(NamedTuple):
    """A schedule's job was submitted."""

    name: str
    function: bytes
    handle: bytes


class ScheduleSkipped(NamedTuple):
    """Runs of a schedule were missed, since that time (Unix seconds), and are not made up for."""

    name: str
    function: bytes
    since: float


class ScheduleRefused(NamedTuple):
    """A schedule's job could not be submitted: this run is left out."""

    name: str
    function: bytes
    reason: bytes


class ScheduleClockSet(NamedTuple):
    """A schedule has run at a time (Unix seconds) that is far in the future now: it begins anew."""

    name: str
    until: float


class ShutdownRequested(NamedTuple):
    """An administrator sent the text command `shutdown`; whoever runs the server ends it once the answer has left."""

    identity: Identity
    is_graceful: bool


class StoreFailed(NamedTuple):
    """The durable store can't be written: background submissions get an ERROR until it can."""

    reason: str


class StoreRecovered(NamedTuple):
    """The durable store is well again."""


class StoreLost(NamedTuple):
    """The store belongs to another server: whoever runs this one ends it."""

    reason: str


Event: TypeAlias = (
    ConnectionOpened
    | ConnectionClosed
    | FunctionRegistered
    | FunctionUnregistered
    | FunctionsForgotten
    | RequestRefused
    | JobQueued
    | JobDue
    | JobCoalesced
    | JobAssigned
    | JobEnded
    | JobFailed
    | AttemptFailed
    | JobRequeued
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

#: The reason of a JobRequeued whose worker kept it longer than it had announced.
OVERRAN: Final = "its worker overran the timeout"
#: The reason of a JobFailed or AttemptFailed whose attempt took too long.
TIMEOUT: Final = b"timeout"


class EventStream:
    """Hands each event to those who subscribed to its type, in the order of their subscription."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Event], list[Callable[[Event], None]]] = {}
        self.wants_jobs = False

    def subscribe(self, receive: Callable[[Event], None], *types: type[Event]) -> None:
        """Have `receive` called with every event of these types. It must not raise, and not call the broker."""
        for event_type in types:
            self._subscribers.setdefault(event_type, []).append(receive)
        self.wants_jobs = any(event_type in self._subscribers for event_type in EVERY_JOB)

    def emit(self, event: Event) -> None:
        """Tell the subscribers."""
        for receive in self._subscribers.get(type(event), ()):
            receive(event)
