"""The seam for durable jobs: what the broker asks of a store, and the store that keeps nothing.

A durable store batches. `insert` and `delete` only note what is to be written, and `hand_over` ends the batch. When
the batch with an insert has been committed, or could not be, the store says so in `verdicts`, which the broker takes at
the end of a pass. Nothing here waits, and the broker never does; no store calls the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from gearman_server.jobs.dead_letters import LetterStore
from gearman_server.jobs.events import StoreFailed, StoreLost, StoreRecovered
from gearman_server.jobs.kept_results import ResultStore

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark


class StoredJob(NamedTuple):
    """A job as it was stored. `was_running`: it was lost with the server, which is counted in `requeues` already."""

    id: int
    was_running: bool
    priority: int
    requeues: int
    failures: int
    run_at: float | None
    submitted_at: float
    handle: bytes
    function: bytes
    unique: bytes
    error: bytes | None
    reducer: bytes | None
    workload: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stored job that a request names: by its handle, or by its unique key.

    A key belongs to a function; a status query knows none. `workload` counts where it is the key itself (`-`).
    """

    handle: bytes = b""
    unique: bytes = b""
    function: bytes | None = None
    workload: bytes | None = None


#: Takes the jobs that were found, or None when the store can't be asked, and the monotonic time.
Answer = Callable[["Sequence[StoredJob] | None", float], None]


class Unread(Protocol):
    """The rows that have not been read, as far as requests may ask for them."""

    def look_up(self, wanted: Sequence[Wanted], answer: Answer) -> None:
        """Have `answer` called, later, with those of the jobs that there are (or were, a moment ago)."""


class InsertsWritten(NamedTuple):
    """These inserts are committed: their submitters are told."""

    jobs: Collection[Job]


class InsertsFailed(NamedTuple):
    """These inserts could not be committed: their submitters get QUEUE_ERROR."""

    jobs: Collection[Job]


#: What the store has to say: of batches, and of itself.
Verdict: TypeAlias = InsertsWritten | InsertsFailed | StoreFailed | StoreRecovered | StoreLost


class Store(LetterStore, ResultStore, Protocol):
    """Where background jobs are kept, and what is left of them."""

    #: What the broker has yet to be told, the oldest first: it takes them out.
    verdicts: deque[Verdict]

    def hand_over(self) -> None:
        """A pass of the loop ends: what was asked for is written now, or a little later."""

    @property
    def is_durable(self) -> bool:
        """Whether `insert` and `delete` do anything; asked once, at the start."""

    def next_number(self) -> int:
        """The number of a new handle. No number ever comes twice, not even after a restart."""

    def insert(self, job: Job) -> None:
        """Add the job to the next batch."""

    def update(self, job: Job) -> None:
        """The job was given to a worker, or its attempts (`job.history`) or the time of its next one
        (`job.history.not_before`, Unix seconds) have changed: write that into its row in some later batch, unless it
        ends before; nobody waits for it. A job whose insert is in no batch yet is inserted as it is then."""

    def delete(self, job: Job) -> None:
        """The job has ended: take its insert back if no batch has taken it yet, else delete its row in the next one."""

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """A schedule has come so far: write that in the same transaction as the insert asked for just before, if one
        was. The marks are handed back at the start by `Broker.restore_schedules`."""

    def forget_schedules(self, names: Sequence[str]) -> None:
        """There are no such schedules any more."""


class MemoryStore:
    """Keeps nothing: jobs live as long as the server. Numbers start at `first_number`, which comes from the time."""

    __slots__ = ("next_number", "verdicts")

    is_durable = False

    def __init__(self, first_number: int = 1) -> None:
        self.next_number = count(first_number).__next__
        self.verdicts: deque[Verdict] = deque()

    def hand_over(self) -> None:
        """Nothing to do."""

    def insert(self, job: Job) -> None:
        """Nothing to do."""

    def update(self, job: Job) -> None:
        """Nothing to do."""

    def delete(self, job: Job) -> None:
        """Nothing to do."""

    def bury(self, letter: DeadLetter) -> None:
        """Nothing to do."""

    def forget_dead(self, handles: Sequence[bytes]) -> None:
        """Nothing to do."""

    def keep(self, result: KeptResult) -> None:
        """Nothing to do."""

    def forget_results(self, handles: Sequence[bytes]) -> None:
        """Nothing to do."""

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """Nothing to do."""

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Nothing to do."""
