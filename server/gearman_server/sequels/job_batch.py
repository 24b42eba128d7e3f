"""A batch of jobs: how many have ended in which way, and the jobs that are submitted when all have. Pure data.

It knows no job: each of its jobs names it, so a million jobs take no more here than one.
"""

from __future__ import annotations

from gearman_client.job_pairs import split_pairs
from gearman_server.jobs.batch_rows import BatchRow, BatchState, Outcome, StoredBatch
from gearman_server.options.job_options import Link
from gearman_server.options.reading import read_link

#: The callbacks, in the order in which they are submitted.
ON_COMPLETE, ON_SUCCESS, ON_FAILURE = CALLBACKS = (b"on_complete", b"on_success", b"on_failure")


class JobBatch:
    """A batch."""

    __slots__ = (
        "callbacks",
        "closed_at",
        "counts",
        "ended_at",
        "is_cancelled",
        "name",
        "opened_at",
        "state",
        "touched",
        "unwritten",
        "waiting",
    )

    def __init__(self, name: bytes, callbacks: bytes, opened_at: float) -> None:
        self.name = name
        #: The pairs as they were sent; empty once it is DONE.
        self.callbacks = callbacks
        self.state = BatchState.OPEN
        #: Whether somebody cancelled or stopped the whole: then it is no success.
        self.is_cancelled = False
        #: Unix seconds.
        self.opened_at = opened_at
        self.closed_at: float | None = None
        self.ended_at: float | None = None
        #: When it was last used (monotonic seconds).
        self.touched = 0.0
        #: How many of its jobs have not ended.
        self.waiting = 0
        #: How many of its jobs have ended, by outcome, and those of them that had no row.
        self.counts: dict[Outcome, int] = {}
        self.unwritten: dict[Outcome, int] = {}

    @classmethod
    def restored(cls, stored: StoredBatch) -> JobBatch:
        """A batch of an earlier run, none of whose jobs is back yet."""
        row = stored.row
        batch = cls(row.name, row.callbacks, row.opened_at)
        batch.state, batch.is_cancelled = row.state, row.is_cancelled
        batch.closed_at, batch.ended_at = row.closed_at, row.ended_at
        batch.counts, batch.unwritten = dict(stored.counts), dict(row.unwritten)
        return batch

    @property
    def ended(self) -> int:
        """How many of its jobs have ended."""
        return sum(self.counts.values())

    @property
    def total(self) -> int:
        """How many jobs it has, those that have ended included."""
        return self.waiting + self.ended

    @property
    def is_success(self) -> bool:
        """Whether every job that has ended is complete, and nobody cancelled the whole."""
        return not self.is_cancelled and self.ended == self.counts.get(Outcome.COMPLETE, 0)

    def note_end(self, outcome: Outcome | None, *, is_counted_by_row: bool) -> None:
        """One of its jobs has ended; None: it was never accepted."""
        self.waiting -= 1
        if outcome is not None:
            self.counts[outcome] = self.counts.get(outcome, 0) + 1
            if not is_counted_by_row:
                self.unwritten[outcome] = self.unwritten.get(outcome, 0) + 1

    def due_callbacks(self) -> list[Link]:
        """The jobs to submit when all its jobs have ended."""
        wanted = (ON_COMPLETE, ON_SUCCESS if self.is_success else ON_FAILURE)
        given = dict(split_pairs(self.callbacks))
        return [read_link(given[name]) for name in wanted if name in given]

    def row(self, serial: int) -> BatchRow:
        """Its row."""
        return BatchRow(
            self.name,
            self.state,
            self.is_cancelled,
            self.opened_at,
            self.closed_at,
            self.ended_at,
            self.callbacks,
            dict(self.unwritten),
            serial,
        )
