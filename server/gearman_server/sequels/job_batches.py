"""Batches of jobs: opened, filled, closed, and done when the last of their jobs has ended. Pure.

Each callback is submitted once: its insert and the row that says so are one transaction. The store counts ended jobs in
the transaction that deletes their rows, and after a restart the jobs that have not ended are counted as they come back.
So whatever breaks off, the numbers are those of the rows, and a batch is done when, and only when, none is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

from gearman_server.errors import RefusedError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.batch_rows import (
    BatchEnded,
    BatchesForgotten,
    BatchRowsWritten,
    BatchState,
    Outcome,
    StoredBatch,
)
from gearman_server.jobs.job import CANCELLED
from gearman_server.sequels.job_batch import JobBatch

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import Store
    from gearman_server.sequels.owed_jobs import OwedJobs

#: The code of the ERROR that refuses a request about a batch.
INVALID_BATCH: Final = b"INVALID_BATCH"
NO_BATCH: Final = b"there is no batch of this id: open it first"
#: Why a batch can't be opened whose id is taken.
ANOTHER_BATCH: Final = b"there is another batch of this id: choose another id"
#: More batches than this can't be open, or wait for their jobs.
MAX_UNDONE: Final = 10_000
#: All their callbacks together.
MAX_CALLBACK_BYTES: Final = 64 << 20
#: A batch that is done is known for so long, and so many of them at most.
KEEP_DONE_S: Final = 3600.0
MAX_DONE: Final = 10_000
#: An open batch whose jobs have all ended, and which nobody has used for so long, is cancelled: its maker is gone.
ABANDONED_AFTER_S: Final = 7 * 86400.0
#: How often that is looked at.
_LOOK_EVERY_S: Final = 600.0
#: When callbacks are tried again that could not be submitted.
_RETRY_S: Final = 1.0

#: Why the jobs of a batch are ended as a whole.
CANCEL, STOP = 1, 2

#: Called once a batch's row is written, or could not be.
Told = Callable[[bool], None]


#: Gets the batches that were found; None: the store does not answer.
Found = Callable[["Sequence[JobBatch] | None"], None]


class SharedByServers(Protocol):
    """The batches of a whole cluster."""

    @property
    def undone(self) -> int:
        """How many are not done, as far as that is known here."""

    def is_marked(self, name: bytes) -> bool:
        """Whether the batch was cancelled or stopped, and is not over."""

    def open(self, session: Session, name: bytes, callbacks: bytes) -> None:
        """Answer OPEN_BATCH."""

    def close(self, session: Session, name: bytes) -> None:
        """Answer CLOSE_BATCH."""

    def get(self, session: Session, name: bytes) -> None:
        """Answer GET_BATCH."""

    def end(self, session: Session, name: bytes, mark: int) -> None:
        """Answer END_BATCH."""

    def look_up(self, name: bytes, then: Found) -> None:
        """Call `then`, later, with the batch, if it exists."""

    def page(self, state: BatchState | None, after: bytes, limit: int, then: Found) -> None:
        """Call `then`, later, with batches whose names come after that one."""

    def end_whole(self, name: bytes, mark: int | None, then: Callable[[int | None], None]) -> None:
        """Close the batch, and by a mark end its jobs. `then` gets how many these were; None: the store is away."""

    def end_here(self, name: bytes, mark: int, then: Callable[[int], None]) -> None:
        """End the jobs of a marked batch that this server has. `then` gets how many these were."""


class JobBatches:
    """All batches, by name."""

    def __init__(self, owed: OwedJobs, store: Store) -> None:
        self.owed = owed
        self._table, self._life = owed.table, owed.life
        self._agenda, self._events = owed.agenda, owed.events
        self._store = store
        #: To be read only; those that are done in the order of their ends.
        self.by_name: dict[bytes, JobBatch] = {}
        self._done: dict[bytes, JobBatch] = {}
        self._callback_bytes = 0
        self._serials = count(1)
        self._waits: dict[bytes, list[tuple[int, Told]]] = {}
        #: Whether jobs of an earlier run may still come back: nothing is done before they are counted.
        self.is_counting = False
        #: Answers for all batches, if other servers have the same; then none is here (see the room `cluster`).
        self.shared: SharedByServers | None = None
        self._alarm = owed.agenda.alarm(self._look)
        self._retry = owed.agenda.alarm(self._finish_all)

    @property
    def undone(self) -> int:
        """How many batches are not done."""
        return self.shared.undone if self.shared is not None else len(self.by_name) - len(self._done)

    # --- requests

    def open(self, name: bytes, callbacks: bytes) -> JobBatch:
        """Open a batch. To do so again with the same callbacks changes nothing.

        Raises:
            RefusedError: there is another one of that name, or there are too many.
        """
        known = self.by_name.get(name)
        if known is not None:
            if known.state is BatchState.DONE or known.callbacks != callbacks:
                raise RefusedError(INVALID_BATCH, ANOTHER_BATCH)
            return known
        if self.undone >= MAX_UNDONE:
            raise RefusedError(INVALID_BATCH, b"%d batches are not done: close them, or cancel them" % MAX_UNDONE)
        if self._callback_bytes + len(callbacks) > MAX_CALLBACK_BYTES:
            raise RefusedError(INVALID_BATCH, b"the callbacks of all batches take too much memory")
        batch = self.by_name[name] = JobBatch(name, callbacks, self._agenda.unix_time())
        batch.touched = self._agenda.now
        self._callback_bytes += len(callbacks)
        self._alarm.by(self._agenda.now + _LOOK_EVERY_S)
        return batch

    def admit(self, name: bytes) -> JobBatch:
        """The batch to which a job is to be added.

        Raises:
            RefusedError: there is none that is open.
        """
        if self.shared is not None:  # the store decides when it inserts the job
            return JobBatch(name, b"", self._agenda.unix_time())
        batch = self.by_name.get(name)
        if batch is None:
            raise RefusedError(INVALID_BATCH, NO_BATCH)
        if batch.state is not BatchState.OPEN:
            raise RefusedError(INVALID_BATCH, b"the batch is closed: no job can be added")
        return batch

    def add(self, batch: JobBatch) -> None:
        """The batch has one more job."""
        batch.waiting += 1
        batch.touched = self._agenda.now

    def close(self, batch: JobBatch) -> None:
        """Add no more jobs; when all have ended, it is done."""
        if batch.state is BatchState.OPEN:
            batch.state = BatchState.CLOSED
            batch.closed_at = self._agenda.unix_time()
            self._finish_if_over(batch)

    def cancel(self, batch: JobBatch, end: Callable[[Job], object]) -> Iterator[None]:
        """Steps that close the batch, and call `end` with each of its jobs that has not ended."""
        if batch.state is not BatchState.DONE:
            batch.is_cancelled = True
            self.close(batch)
            self._keep(batch)  # after a restart in the middle of the steps none of its jobs comes back
        handles = list(self._table.jobs) if batch.waiting else []
        for at in range(0, len(handles), STEP):
            for handle in handles[at : at + STEP]:
                job = self._table.jobs.get(handle)
                if job is None or job.state is CANCELLED:  # it has ended already, and its worker goes on for nothing
                    continue
                if (options := job.followed) is not None and options.batch == batch.name:
                    end(job)
            if at + STEP < len(handles):
                yield

    def answer(
        self,
        session: Session,
        batch: JobBatch,
        written: Callable[[], bytes],
        not_written: bytes,
        steps: Iterable[None] = (),
    ) -> None:
        """Answer after these steps, once the store has what they did, and the batch as it is then: the peer may forget
        it then."""
        durability = self._life.durability
        fill = durability.withhold(session)

        def to_the_answer() -> Iterator[None]:
            yield from steps
            if durability.is_durable:
                self._write(batch, lambda is_written: fill(written() if is_written else not_written))
            else:
                fill(written())

        self._agenda.chores.start(to_the_answer())

    def _write(self, batch: JobBatch, told: Told) -> None:
        """Have the batch's row written at once, and call `told` when that is done, or could not be."""
        serial = next(self._serials)
        self._waits.setdefault(batch.name, []).append((serial, told))
        self._store.keep_batch(batch.row(serial), is_awaited=True)

    def note_written(self, news: BatchRowsWritten) -> None:
        """The store's news about rows."""
        for name, serial in news.serials.items():
            waits = self._waits.pop(name, ())
            left = [wait for wait in waits if wait[0] > serial]
            if left:
                self._waits[name] = left
            for written, told in waits:
                if written <= serial:
                    told(news.are_written)

    # --- jobs that end

    def note_end(self, batch: JobBatch, outcome: Outcome | None, *, is_counted_by_row: bool) -> None:
        """One of its jobs has ended."""
        batch.note_end(outcome, is_counted_by_row=is_counted_by_row)
        batch.touched = self._agenda.now
        if not is_counted_by_row and outcome is not None:
            self._keep(batch)
        self._finish_if_over(batch)

    def get(self, name: bytes) -> JobBatch | None:
        """The batch of a job that has not ended; None: there is none any more."""
        batch = self.by_name.get(name)
        return None if batch is None or batch.state is BatchState.DONE else batch

    def _finish_if_over(self, batch: JobBatch) -> None:
        if batch.state is BatchState.CLOSED and not batch.waiting and not self.is_counting:
            self._finish(batch)

    def _finish(self, batch: JobBatch) -> None:
        """Submit the callbacks, and note in the same transaction that this is done."""
        callbacks = batch.due_callbacks()
        try:
            handles = self.owed.take_handles(len(callbacks))
        except RefusedError:
            self._retry.by(self._agenda.now + _RETRY_S)
            return
        facts = facts_for_callback(batch)
        for handle, link in zip(handles, callbacks, strict=True):
            workload = facts if link.workload is None else link.workload
            self.owed.submit(handle, link.function, link.unique, workload, link.pairs)
        self._callback_bytes -= len(batch.callbacks)
        batch.state, batch.callbacks = BatchState.DONE, b""
        batch.ended_at = self._agenda.unix_time()
        self._done[batch.name] = batch
        self._keep(batch)
        self._events.emit(
            BatchEnded(batch.name, batch.total, batch.counts.get(Outcome.COMPLETE, 0), is_success=batch.is_success)
        )
        self._forget_excess()
        self._alarm.by(self._agenda.now + _LOOK_EVERY_S)

    def _finish_all(self, _now: float) -> None:
        for batch in list(self.by_name.values()):
            self._finish_if_over(batch)

    def _keep(self, batch: JobBatch) -> None:
        self._store.keep_batch(batch.row(next(self._serials)), is_awaited=False)

    # --- after a restart

    def restore(self, stored: Iterable[StoredBatch], now: float) -> None:
        """Take over the batches of an earlier run, before their jobs come back."""
        self.is_counting = True
        for batch in sorted(map(JobBatch.restored, stored), key=lambda batch: batch.ended_at or 0.0):
            batch.touched = now
            self.by_name[batch.name] = batch
            if batch.state is BatchState.DONE:
                self._done[batch.name] = batch
            self._callback_bytes += len(batch.callbacks)
        if self.by_name:
            self._alarm.by(now + _LOOK_EVERY_S)

    def rejoin(self, name: bytes) -> bool:
        """A job of the batch has come back. Returns whether the batch is cancelled, and the job with it."""
        if self.shared is not None:
            return self.shared.is_marked(name)
        batch = self.get(name)
        if batch is None:
            return False
        batch.waiting += 1
        return batch.is_cancelled

    def all_are_back(self, now: float) -> None:
        """All jobs of an earlier run are back, and counted."""
        self._agenda.now = now
        if self.is_counting:
            self.is_counting = False
            self._finish_all(now)

    # --- the clock

    def _look(self, now: float) -> None:
        """Forget what is done long since, and cancel what nobody uses any more."""
        too_old = self._agenda.unix_time() - KEEP_DONE_S
        gone = []
        for name, batch in self._done.items():
            if (batch.ended_at or 0.0) > too_old:
                break
            gone.append(name)
        self._forget(gone)
        for batch in list(self.by_name.values()):
            is_idle = batch.state is BatchState.OPEN and not batch.waiting and not self.is_counting
            if is_idle and batch.touched + ABANDONED_AFTER_S <= now:
                batch.is_cancelled = True
                self.close(batch)
        if self.by_name:
            self._alarm.by(now + _LOOK_EVERY_S)

    def _forget_excess(self) -> None:
        gone = list(self._done)[: max(0, len(self._done) - MAX_DONE)]
        self._forget(gone)
        if gone:
            self._events.emit(BatchesForgotten(len(gone)))

    def _forget(self, names: list[bytes]) -> None:
        for name in names:
            del self._done[name], self.by_name[name]
        if names:
            self._store.forget_batches(names)


def facts_for_callback(batch: JobBatch) -> bytes:
    """The workload of a callback that was given none."""
    counts = {outcome.value: batch.counts.get(outcome, 0) for outcome in Outcome}
    name = batch.name.decode("utf-8", "backslashreplace")
    facts = {"batch": name, "jobs": batch.total, **counts, "success": batch.is_success}
    return json.dumps(facts, ensure_ascii=False).encode()
