"""The seam for durable jobs: the broker's view of a store, and the store that keeps nothing.

A durable store batches. `insert` and `delete` only note a change, and `hand_over` ends the batch. When the batch with
an insert has been committed, or has failed, the store appends that to `verdicts`, which the broker takes at the end of
a pass. Nothing here waits, and neither does the broker; no store calls the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from gearman_server.jobs.batch_rows import BatchRowsWritten, BatchStore
from gearman_server.jobs.dead_letters import LetterStore
from gearman_server.jobs.events import StoreFailed, StoreFenced, StoreLost, StoreRecovered
from gearman_server.jobs.kept_results import ResultStore

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.batch_rows import BatchRow, FollowedEnd
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRun


class StoredJob(NamedTuple):
    """A job as it was stored. If it `was_running` when the server ended, `requeues` counts that loss already. One that
    `was_stopped` must not be run again."""

    id: int
    was_running: bool
    was_stopped: bool
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
    #: The pairs of its options; None: it has none.
    options: bytes | None = None
    #: That of its last checkpoint; None: there was none.
    cursor: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stored job that a request names by its handle, or by its unique key.

    A key belongs to a function, but a status query names none. `workload` is set if it is the key itself (`-`).
    """

    handle: bytes = b""
    unique: bytes = b""
    function: bytes | None = None
    workload: bytes | None = None


class KeyKind(IntEnum):
    """What a key is that outlives its job."""

    #: The id of the job's submission.
    SUBMISSION = 0
    #: The unique key of a job that has ended.
    UNIQUE = 1


class KnownKey(NamedTuple):
    """A key for which further submissions are the job of this handle, though that may have ended."""

    kind: KeyKind
    function: bytes
    text: bytes
    handle: bytes
    #: Unix seconds.
    until: float
    #: By this and its kind a store tells it from others: the job's number, or one of its own for a key that is not the
    #: job's first of this kind.
    number: int


#: How long the id of a submission is known.
SUBMISSION_KNOWN_S: Final = 86_400.0


def submission_key(job: Job, offset_s: float) -> KnownKey | None:
    """The key of a job that was submitted with an id; `offset_s` added to a monotonic time gives the wall clock's."""
    submission = job.rare.submission
    if not submission:
        return None
    until = job.submitted + offset_s + SUBMISSION_KNOWN_S
    name, handle = job.function.name, job.handle
    return KnownKey(KeyKind.SUBMISSION, name, submission, handle, until, number_of(handle))


def unique_key(job: Job, until: float) -> KnownKey:
    """The unique key of a job, which has one."""
    # No unique key of a client's own has a zero byte.
    text = job.unique if job.unique != b"-" else b"-\0" + job.workload
    return KnownKey(KeyKind.UNIQUE, job.function.name, text, job.handle, until, number_of(job.handle))


def number_of(handle: bytes) -> int:
    """The number in one of our handles."""
    return int(handle.rpartition(b":")[2])


class KeyStore(Protocol):
    """Keeps keys for the next run, beside the ids of submissions, which it writes with their jobs' rows."""

    def remember(self, key: KnownKey) -> None:
        """Keep the key of a job whose row is written, or that has ended: then it is written in the same transaction as
        the delete of the job's row, which is the next call. At the start the keys are handed to `KnownKeys.restore`."""

    def forget_keys(self, keys: Sequence[KnownKey]) -> None:
        """Forget these keys."""


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


class ChangesWritten(NamedTuple):
    """Changes for whose commit somebody waits."""

    #: The jobs whose new workloads are written.
    rewrites: Collection[Job] = ()
    #: The handles of jobs that are never run again.
    stops: Collection[bytes] = ()
    #: What `Store.await_changes` was called with.
    awaited: Collection[int] = ()


class InsertsFailed(NamedTuple):
    """These inserts could not be committed. Submitters get QUEUE_ERROR if their job has not run and never will."""

    jobs: Collection[Job]
    #: It is not known whether they are committed: the connection broke in the middle of it.
    are_unknown: bool = False
    #: The database does not take these jobs because of their contents: another attempt would fail, too.
    are_refused: bool = False


class InsertsLost(NamedTuple):
    """These jobs were not inserted, because another server that shares the store has them, or has forgotten them."""

    jobs: Collection[Job]


class InsertsKnown(NamedTuple):
    """These jobs were not inserted: their keys are those of other jobs in the cluster, whose handles stand beside."""

    jobs: Mapping[Job, bytes]


class InsertsNotAdmitted(NamedTuple):
    """These jobs were not inserted: there is no open batch of the id that they name."""

    jobs: Collection[Job]


class InsertsLate(NamedTuple):
    """Whether the commits of inserts take long now."""

    are_late: bool


class PausesKnown(NamedTuple):
    """Whether these pauses of functions, or their ends (None), are committed. If not, that is tried again."""

    pauses: Mapping[bytes, float | None]
    are_written: bool


class RunsSettled(NamedTuple):
    """Which server a schedule's runs belong to, if several share the store."""

    #: These are ours: their marks are committed, and their jobs with them.
    won: Sequence[ScheduleRun]
    #: These are not, and their jobs were not inserted: each with the mark of whoever dealt with it, or None if another
    #: server was just changing the mark.
    lost: Sequence[tuple[ScheduleRun, ScheduleMark | None]]


#: The store's news about batches, and about itself.
Verdict: TypeAlias = (
    InsertsWritten
    | InsertsFailed
    | InsertsLate
    | InsertsLost
    | InsertsKnown
    | InsertsNotAdmitted
    | ChangesWritten
    | PausesKnown
    | BatchRowsWritten
    | RunsSettled
    | StoreFailed
    | StoreRecovered
    | StoreLost
    | StoreFenced
)


class Store(LetterStore, ResultStore, KeyStore, BatchStore, Protocol):
    """Keeps background jobs, letters, results, batches of jobs, marks of schedules, and pauses of functions."""

    #: News for the broker, the oldest first; the broker takes them out.
    verdicts: deque[Verdict]
    #: The id of the store: random, and always the same. Empty: it is not durable.
    store_id: bytes

    def hand_over(self) -> None:
        """A pass of the loop ends: write the changes now, or a little later."""

    @property
    def is_durable(self) -> bool:
        """Whether `insert` and `delete` do anything; asked once, at the start."""

    def take_numbers(self, at_most: int) -> range:
        """The numbers of new handles, one at least. No number is ever taken twice, not even after a restart.

        Raises:
            RefusedError: there are none.
        """

    def insert(self, job: Job) -> None:
        """Add the job to the next batch."""

    def insert_again(self, job: Job) -> None:
        """Add a job whose insert failed to a later batch, once the store can be written again."""

    def unwritten(self) -> Iterable[Job]:
        """The jobs whose insert is under way: no outcome of it was reported yet."""

    def update(self, job: Job, *, is_cursor_alone: bool = False) -> None:
        """Update the job's row: a worker has the job now, or its attempts (`job.history`) or the time of the next one
        (`job.history.not_before`, Unix seconds) have changed. That is written in some later batch, unless the job ends
        before; nobody waits for it. A job whose insert is in no batch yet is inserted in its state at that time.

        is_cursor_alone: nothing but the job's cursor has changed. With every update the cursor is written too."""

    def rewrite(self, job: Job) -> None:
        """Update the workload and the time of a job's row in the next batch. Once that is committed, or the job's
        insert is, `verdicts` gets a ChangesWritten."""

    def stop(self, job: Job) -> None:
        """Have it written, soon, that the job is never to be run again. `ChangesWritten` tells of it."""

    def await_changes(self, number: int) -> None:
        """Have ChangesWritten tell of the number once every change so far is written."""

    def delete(self, job: Job) -> None:
        """Withdraw the insert of a job that has ended if no batch has taken it yet, else delete its row in the next."""

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """Write a schedule's progress that is no run. At the start the marks are handed to `Scheduler.restore`."""

    def pause_schedule(self, name: str, mark: ScheduleMark, identity: Identity) -> None:
        """Write that it is paused, or no longer. `note_written` tells, by who asked for it, what others see changed."""

    def note_run(self, run: ScheduleRun) -> None:
        """Write a run's mark with its job's insert. If others have the schedules, `RunsSettled` tells whose it is."""

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Forget the marks of schedules that no longer exist."""

    def set_pause(self, function: bytes, since: float | None) -> None:
        """Write since when (Unix seconds) a function is paused; None: it is no longer. `PausesKnown` tells when that is
        written. At the start the pauses are handed to `Pauses.restore`."""


class MemoryStore:
    """Keeps nothing: jobs live only as long as the server."""

    __slots__ = ("_number", "store_id", "verdicts")

    is_durable = False

    def __init__(self, first: int = 1) -> None:
        """`first` is the number of the first handle."""
        self._number = first
        self.store_id = b""
        self.verdicts: deque[Verdict] = deque()

    def take_numbers(self, at_most: int) -> range:
        """The next numbers."""
        self._number += at_most
        return range(self._number - at_most, self._number)

    def hand_over(self) -> None:
        """Nothing to do."""

    def insert(self, job: Job) -> None:
        """Nothing to do."""

    def insert_again(self, job: Job) -> None:
        """Nothing to do."""

    def unwritten(self) -> Iterable[Job]:
        """None."""
        return ()

    def update(self, job: Job, *, is_cursor_alone: bool = False) -> None:
        """Nothing to do."""

    def rewrite(self, job: Job) -> None:
        """Nothing to do."""

    def stop(self, job: Job) -> None:
        """Nothing to do."""

    def await_changes(self, number: int) -> None:
        """Nothing to do."""

    def delete(self, job: Job) -> None:
        """Nothing to do."""

    def insert_owed(self, job: Job) -> None:
        """Nothing to do."""

    def delete_followed(self, job: Job, end: FollowedEnd) -> None:
        """Nothing to do."""

    def keep_batch(self, row: BatchRow, *, is_awaited: bool) -> None:
        """Nothing to do."""

    def forget_batches(self, names: Sequence[bytes]) -> None:
        """Nothing to do."""

    def remember(self, key: KnownKey) -> None:
        """Nothing to do."""

    def forget_keys(self, keys: Sequence[KnownKey]) -> None:
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

    def pause_schedule(self, name: str, mark: ScheduleMark, identity: Identity) -> None:
        """Nothing to do."""

    def note_run(self, run: ScheduleRun) -> None:
        """Nothing to do."""

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Nothing to do."""

    def set_pause(self, function: bytes, since: float | None) -> None:
        """Nothing to do."""
