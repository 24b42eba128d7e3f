"""Batches of jobs in a cluster: any server opens, fills, closes and ends them, and one submits the callbacks. Pure.

The table has the truth, and no server's memory. With every second beat each server hears whether there are batches that
are over, and if so it reads them: it submits the callbacks together with a change of the batch's row that only one
server can make. The jobs of a cancelled batch are ended by the servers that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gearman_server.errors import RefusedError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.batch_rows import BatchEnded, BatchState, Outcome, StoredBatch
from gearman_server.jobs.job import CANCELLED
from gearman_server.sequels.job_batch import JobBatch
from gearman_server.sequels.job_batches import ABANDONED_AFTER_S, CANCEL, facts_for_callback

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.sequels.job_batches import JobBatches

#: The time between two looks for batches that nobody uses any more.
_LOOK_AT_IDLE_EVERY_S: Final = 600.0
#: A batch whose callbacks are being submitted is not tried again for so long: only one attempt can succeed.
_PATIENCE_S: Final = 5.0


class SharedBatch(NamedTuple):
    """A batch as the table has it."""

    stored: StoredBatch
    #: How many jobs it has, those that have ended included.
    jobs: int
    #: CANCEL, STOP, or 0.
    mark: int

    def as_batch(self) -> JobBatch:
        """The same as an object."""
        batch = JobBatch.restored(self.stored)
        batch.waiting = max(0, self.jobs - batch.ended)
        return batch


#: Gets one batch, none, or None if the database does not answer.
Answer = Callable[["list[SharedBatch] | None"], None]


class BatchTable(Protocol):
    """Reads and changes the table; each answer comes later."""

    def open(self, name: bytes, callbacks: bytes, answer: Answer) -> None:
        """Open a batch, unless there is one of that name."""

    def change(self, name: bytes, mark: int | None, answer: Answer) -> None:
        """Close a batch, and mark it."""

    def get(self, name: bytes, answer: Answer) -> None:
        """The batch, if it exists."""

    def page(self, state: BatchState | None, after: bytes, limit: int, answer: Answer) -> None:
        """Batches in the order of their names."""

    def due(self, answer: Answer) -> None:
        """Those that are over and not done, and those that are cancelled and not over."""

    def idle(self, opened_before: float, answer: Answer) -> None:
        """Those that are open since before that time (Unix seconds), and whose jobs have all ended."""

    def count_undone(self, answer: Callable[[int | None], None]) -> None:
        """How many are not done."""


class AbandonedBatches:
    """Open batches whose jobs have all ended, and which nobody has used for very long: their makers are gone.

    The table does not say when one was used last. A server sees that for as long as it runs, by the number of jobs.
    """

    def __init__(self) -> None:
        #: How many jobs each has, and since when that is so (monotonic seconds).
        self._since: dict[bytes, tuple[int, float]] = {}

    def note(self, idle: Sequence[SharedBatch], now: float) -> Sequence[bytes]:
        """Take in those that are idle now; the names of those that are abandoned."""
        former, self._since = self._since, {}
        for shared in idle:
            name = shared.stored.row.name
            jobs, since = former.get(name, (-1, now))
            self._since[name] = shared.jobs, since if jobs == shared.jobs else now
        return [name for name, (_, since) in self._since.items() if since + ABANDONED_AFTER_S <= now]


class SharedBatches:
    """Finishes and ends batches for one server."""

    def __init__(
        self,
        batches: JobBatches,
        table: BatchTable,
        finish: Callable[[bytes, list[Job]], None],
        ends: dict[int, Callable[[Job], object]],
    ) -> None:
        """`finish` notes in the store's next batch that one is done, with its callbacks; `ends` ends a job, by the mark
        of its batch."""
        self.table = table
        self._batches = batches
        self._owed = batches.owed
        self._finish_row = finish
        self._ends = ends
        #: Until when a batch is not tried again (monotonic seconds).
        self._tried: dict[bytes, float] = {}
        #: Batches whose jobs here are ended, or being ended, with the number of jobs of which nobody was told so far.
        self._marked: dict[bytes, int] = {}
        #: Those that the last look did not find any more.
        self._gone: set[bytes] = set()
        self._is_looking = False
        self._abandoned = AbandonedBatches()
        self._look_at_idle_at = self._owed.agenda.now
        self._undone = 0
        self._alarm = self._owed.agenda.alarm(self._look)

    def note_due(self, are_due: bool | None) -> None:
        """Note whether the table has batches that are over, or cancelled and not over; None: nobody has looked."""
        if are_due is None:
            return
        if are_due or self._marked:  # marked ones that are over now are to be forgotten
            self.look_soon()
        self._look_at_idle(self._owed.agenda.now)

    def look_soon(self) -> None:
        """Look for batches that are over."""
        self._alarm.by(self._owed.agenda.now)

    def is_marked(self, name: bytes) -> bool:
        """Whether the batch was cancelled or stopped."""
        return name in self._marked

    @property
    def undone(self) -> int:
        """How many batches of the cluster were not done when that was asked last; this has it counted anew."""
        self.table.count_undone(self._note_undone)
        return self._undone

    def _note_undone(self, found: int | None) -> None:
        self._undone = self._undone if found is None else found

    def take_ended(self, name: bytes) -> int:
        """How many jobs of the batch were ended here, and not told of by an earlier call."""
        ended = self._marked.get(name, 0)
        if ended:
            self._marked[name] = 0
        return ended

    def end_jobs(self, name: bytes, mark: int) -> Iterator[None]:
        """Steps that end the jobs of the batch that this server has."""
        self._marked.setdefault(name, 0)
        handles = list(self._owed.table.jobs)
        for at in range(0, len(handles), STEP):
            for handle in handles[at : at + STEP]:
                job = self._owed.table.jobs.get(handle)
                if job is None or job.state is CANCELLED:
                    continue
                if (options := job.followed) is not None and options.batch == name:
                    self._ends[mark](job)
                    self._marked[name] = self._marked.get(name, 0) + 1
            if at + STEP < len(handles):
                yield

    def _look(self, _now: float) -> None:
        if not self._is_looking and self._owed.life.durability.trouble is None:
            self._is_looking = True
            self.table.due(self._take_due)

    def _look_at_idle(self, now: float) -> None:
        if now >= self._look_at_idle_at and self._owed.life.durability.trouble is None:
            self._look_at_idle_at = now + _LOOK_AT_IDLE_EVERY_S
            self.table.idle(self._owed.agenda.unix_time() - ABANDONED_AFTER_S, self._take_idle)

    def _take_idle(self, found: list[SharedBatch] | None) -> None:
        for name in self._abandoned.note(found or [], self._owed.agenda.now):
            self.table.change(name, CANCEL, lambda _found: None)

    def _take_due(self, found: list[SharedBatch] | None) -> None:
        self._is_looking = False
        if found is None:
            return
        now = self._owed.agenda.now
        self._tried = {name: until for name, until in self._tried.items() if until > now}
        marked = {batch.stored.row.name for batch in found if batch.mark}
        # One that was marked a moment ago may not have been in that answer.
        gone, self._gone = self._gone, self._marked.keys() - marked
        self._marked = {name: ended for name, ended in self._marked.items() if name not in gone - marked}
        for shared in found:
            name = shared.stored.row.name
            if shared.mark and name not in self._marked:
                self._owed.agenda.chores.start(self.end_jobs(name, shared.mark))
            if shared.stored.row.state is BatchState.CLOSED and shared.jobs == sum(shared.stored.counts.values()):
                self._finish(shared.as_batch())

    def _finish(self, batch: JobBatch) -> None:
        """Submit the callbacks, if no other server does."""
        if batch.name in self._tried:
            return
        self._tried[batch.name] = self._owed.agenda.now + _PATIENCE_S
        callbacks = batch.due_callbacks()
        try:
            handles = self._owed.take_handles(len(callbacks))
        except RefusedError:
            return
        jobs = []
        for handle, link in zip(handles, callbacks, strict=True):
            workload = facts_for_callback(batch) if link.workload is None else link.workload
            job, is_new = self._owed.submit(handle, link.function, link.unique, workload, link.pairs)
            if is_new:
                jobs.append(job)
        self._finish_row(batch.name, jobs)
        if jobs:
            self._owed.life.durability.when_known(jobs[0], partial(self._note_finished, batch))

    def _note_finished(self, batch: JobBatch, is_ours: bool) -> None:
        if is_ours:
            complete = batch.counts.get(Outcome.COMPLETE, 0)
            self._owed.events.emit(BatchEnded(batch.name, batch.total, complete, is_success=batch.is_success))
