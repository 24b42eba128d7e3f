"""The seam for durable jobs: the broker's view of a store, and the store that keeps nothing.

A durable store batches. `insert` and `delete` only note a change, and `hand_over` ends the batch. When the batch with
an insert has been committed, or has failed, the store appends that to `verdicts`, which the broker takes at the end of
a pass. Nothing here waits, and neither does the broker; no store calls the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from gearman_server.jobs.dead_letters import LetterStore
from gearman_server.jobs.events import StoreFailed, StoreLost, StoreRecovered
from gearman_server.jobs.kept_results import ResultStore

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark


class StoredJob(NamedTuple):
    """A job as it was stored. If it `was_running` when the server ended, `requeues` counts that loss already."""

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
    """A stored job that a request names by its handle, or by its unique key.

    A key belongs to a function, but a status query names none. `workload` is set if it is the key itself (`-`).
    """

    handle: bytes = b""
    unique: bytes = b""
    function: bytes | None = None
    workload: bytes | None = None


#: The numbers of each second begin this far apart: no server gives out that many handles in a second.
_NUMBERS_A_SECOND: Final = 1 << 32
#: 2020-01-01, from which seconds are counted here; with these, numbers stay below 63 bits until 2088.
_EPOCH_S: Final = 1_577_836_800
_LAST_S: Final = 1 << 31


def first_number(unix_s: float, chance: float) -> int:
    """The number from which a server counts its handles. `chance` is a random number from 0 to 1.

    It comes from the time, so that no earlier run can have counted that far, and from chance, so that servers of the
    same host which start in the same second, or with a wrong clock, give out different handles.
    """
    since_s = int(unix_s) - _EPOCH_S
    second = since_s if 0 <= since_s < _LAST_S - 1 else 0
    return second * _NUMBERS_A_SECOND + int(chance * (_NUMBERS_A_SECOND - 1)) + 1


#: It gets the jobs that were found, or None if the store can't be asked, and the monotonic time.
Answer = Callable[["Sequence[StoredJob] | None", float], None]


class Unread(Protocol):
    """The rows that have not been read yet: requests may ask for them."""

    def look_up(self, wanted: Sequence[Wanted], answer: Answer) -> None:
        """Call `answer`, later, with those of the wanted jobs that exist, or existed a moment ago."""


class InsertsWritten(NamedTuple):
    """These inserts are committed: their submitters get JOB_CREATED."""

    jobs: Collection[Job]


class InsertsFailed(NamedTuple):
    """These inserts could not be committed. Submitters get QUEUE_ERROR if their job has not run and never will."""

    jobs: Collection[Job]
    #: It is not known whether they are committed: the connection broke in the middle of it.
    are_unknown: bool = False
    #: The database does not take these jobs because of their contents: another attempt would fail, too.
    are_refused: bool = False


class InsertsLate(NamedTuple):
    """Whether the commits of inserts take long now."""

    are_late: bool


#: The store's news about batches, and about itself.
Verdict: TypeAlias = InsertsWritten | InsertsFailed | InsertsLate | StoreFailed | StoreRecovered | StoreLost


class Store(LetterStore, ResultStore, Protocol):
    """Keeps background jobs, their dead letters and results, and the schedules' marks."""

    #: News for the broker, the oldest first; the broker takes them out.
    verdicts: deque[Verdict]

    def hand_over(self) -> None:
        """A pass of the loop ends: write the changes now, or a little later."""

    @property
    def is_durable(self) -> bool:
        """Whether `insert` and `delete` do anything; asked once, at the start."""

    def next_number(self) -> int:
        """The number of a new handle. No number is ever returned twice, not even after a restart."""

    def insert(self, job: Job) -> None:
        """Add the job to the next batch."""

    def insert_again(self, job: Job) -> None:
        """Add a job whose insert failed to a later batch, once the store can be written again."""

    def unwritten(self) -> Iterable[Job]:
        """The jobs whose insert is under way: no outcome of it was reported yet."""

    def update(self, job: Job) -> None:
        """Update the job's row: a worker has the job now, or its attempts (`job.history`) or the time of the next one
        (`job.history.not_before`, Unix seconds) have changed. That is written in some later batch, unless the job ends
        before; nobody waits for it. A job whose insert is in no batch yet is inserted in its state at that time."""

    def delete(self, job: Job) -> None:
        """Withdraw the insert of a job that has ended if no batch has taken it yet, else delete its row in the next."""

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """Write a schedule's progress, in the same transaction as the insert just before it, if there was one. At the
        start the marks are handed to `Broker.restore_schedules`."""

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Forget the marks of schedules that no longer exist."""


class MemoryStore:
    """Keeps nothing: jobs live only as long as the server."""

    __slots__ = ("next_number", "verdicts")

    is_durable = False

    def __init__(self, first: int = 1) -> None:
        """`first` is the number of the first handle."""
        self.next_number = count(first).__next__
        self.verdicts: deque[Verdict] = deque()

    def hand_over(self) -> None:
        """Nothing to do."""

    def insert(self, job: Job) -> None:
        """Nothing to do."""

    def insert_again(self, job: Job) -> None:
        """Nothing to do."""

    def unwritten(self) -> Iterable[Job]:
        """None."""
        return ()

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
