"""What a store keeps of batches of jobs: their rows, and how the jobs of a batch can end. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.options.job_options import JobOptions


class Outcome(Enum):
    """How a job ended. The values are columns of the store's table, and keys of the packet BATCH."""

    __hash__ = object.__hash__

    COMPLETE = "complete"
    #: The worker said so for good, its time ran out, or it has lost too many workers.
    FAILED = "failed"
    #: It was not begun in time.
    EXPIRED = "expired"
    #: Somebody cancelled it or purged its queue, or the clients that waited for it have left.
    CANCELLED = "cancelled"
    #: It was stopped while it ran.
    STOPPED = "stopped"


#: Ends that somebody wanted; None: the job was never accepted.
WITHDRAWN: Final = (None, Outcome.CANCELLED, Outcome.STOPPED)


class BatchState(IntEnum):
    """The state of a batch of jobs, as its row has it."""

    #: Jobs can be added.
    OPEN = 0
    #: No job can be added; some may not have ended.
    CLOSED = 1
    #: Every job has ended, and its callbacks are submitted.
    DONE = 2


class BatchRow(NamedTuple):
    """A batch of jobs as a store keeps it, without the numbers of ended jobs that the store counts itself."""

    name: bytes
    state: BatchState
    is_cancelled: bool
    #: Unix seconds.
    opened_at: float
    closed_at: float | None
    ended_at: float | None
    #: The pairs `on_complete=`, `on_success=`, `on_failure=`, each a submission.
    callbacks: bytes
    #: How many jobs ended in each way without a row that was known to be written.
    unwritten: Mapping[Outcome, int]
    #: Rows that are handed to the store later have greater ones.
    serial: int = 0


class StoredBatch(NamedTuple):
    """A batch of an earlier run."""

    row: BatchRow
    #: How many of its jobs ended in each way, those without a row included.
    counts: Mapping[Outcome, int]


class FollowedEnd(NamedTuple):
    """The end of a job with a row, which something follows."""

    #: The batch whose count of this outcome the store raises if, and when, it deletes the row; empty: none.
    counted_by: bytes
    outcome: Outcome
    #: Whether the row may only be deleted together with the inserts that were owed until now.
    is_tied: bool = False


class BatchRowsWritten(NamedTuple):
    """The rows of batches, up to these serial numbers by name, are committed, or could not be."""

    serials: Mapping[bytes, int]
    are_written: bool = True


class BatchStore(Protocol):
    """Keeps batches of jobs for the next run."""

    def insert_owed(self, job: Job) -> None:
        """Like `insert`, for a job that follows from what is written in the same transaction: a `FollowedEnd` that is
        tied, a row of a batch that is DONE. None of these is written without it."""

    def delete_followed(self, job: Job, end: FollowedEnd) -> None:
        """Like `delete`, for a job that something follows. The row of a job that was known to be written is counted in
        the transaction that deletes it, and never twice."""

    def keep_batch(self, row: BatchRow, *, is_awaited: bool) -> None:
        """Write the batch's row, if somebody waits for it as soon as an insert. `BatchRowsWritten` tells of it. One
        that is DONE is written only with the inserts that were owed before."""

    def forget_batches(self, names: Sequence[bytes]) -> None:
        """Forget these batches."""


class Following(Protocol):
    """What follows the end of a job whose options say so."""

    def end(self, job: Job, options: JobOptions, outcome: Outcome | None, text: bytes) -> None:
        """The job has ended in this way, with this result or reason; None: it was never accepted. Has its row
        deleted (`Durability.job_ended`)."""


class BatchEnded(NamedTuple):
    """The last job of a batch has ended, and its callbacks are submitted."""

    batch: bytes
    jobs: int
    complete: int
    is_success: bool


class BatchesForgotten(NamedTuple):
    """Very many batches are done, so this many were forgotten before their time."""

    batches: int


class ChainBroken(NamedTuple):
    """A job is complete, but the next one of its chain is not submitted."""

    handle: bytes
    function: bytes
    reason: str
