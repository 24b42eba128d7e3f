"""The durable store as the broker sees it: changes accumulate here, on the loop's thread, and are written in batches.

A batch with an insert is handed to the writer at the end of the loop's pass, any other after a short delay: clients
wait only for inserts. Changes that come while a batch is being written make up the next one. That one goes to the
writer ahead of time if it has inserts alone, and as many as the first: then the writer need not wait for the loop, and
nothing in the second batch depends on the outcome of the first. No batch is handed over behind one that undoes inserts,
because their jobs may be inserted anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearman_server.errors import OwnershipLostError, RefusedError, StoreError
from gearman_server.jobs.batch_rows import BatchRowsWritten
from gearman_server.jobs.events import StoreFailed, StoreLost, StoreRecovered
from gearman_server.jobs.store import (
    ChangesWritten,
    InsertsFailed,
    InsertsLate,
    InsertsWritten,
    PausesKnown,
    Verdict,
)
from gearman_server.log import logger
from gearman_server.loop import Loop, Pause
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url
from gearman_server.stores.loading import Loading
from gearman_server.stores.noted_changes import NotedChanges
from gearman_server.stores.opening import LastRun, Left, open_database
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.writer import WriteOrder, WriteOutcome, Writer

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.batch_rows import BatchRow, FollowedEnd
    from gearman_server.jobs.job import Job

#: A change for which nobody waits may stay unwritten this long.
LAZY_DELAY_S: Final = 0.03
#: An insert is late after this time: new jobs are not given out any more before they are written.
LATE_S: Final = 0.05
#: A store in trouble is tried again at this interval.
PROBE_EVERY_S: Final = 0.5
#: While nothing is written, the store is looked at at this interval.
LOOK_EVERY_S: Final = 1.0
#: A store is well again when nothing has failed for this long.
WELL_AFTER_S: Final = 1.0
#: How long the server's end may wait for the store.
CLOSE_PATIENCE_S: Final = 2.0
#: More numbers are reserved when fewer than these are left.
_FEW_NUMBERS: Final = 500_000_000
#: While the store is in trouble and more failed inserts than this are still to be undone, no insert is tried: the
#: number would grow as long as the trouble lasts, and so would the time to undo them when it is over.
MAX_UNDONE: Final = 10_000
#: The number of looks at the clock within the timeout of a batch, at least, and the longest time between two.
_LOOKS: Final = 20
_LOOK_S: Final = 0.02


class SqlStore(NotedChanges):
    """A `Store` in an SQL database."""

    is_durable = True

    def __init__(self, settings: StoreSettings, loop: Loop, database: Database | None = None) -> None:
        """Take ownership of the database, bring its schema up to date, and reserve numbers. Blocks.

        Raises:
            StartError: the database can't be used.
        """
        super().__init__()
        self._timeout_s = settings.timeout_s
        self._database = database or Database(parse_url(settings.url), settings.timeout_s)
        numbers, left = open_database(self._database)
        self._number, self._numbers_end = numbers.start, numbers.stop
        self._reserved: range | None = None
        #: The contents from an earlier run, until `restore_to`.
        self._left: Left | None = left
        self.store_id = left.store_id
        self._last_run = LastRun(self._database, left.ending)
        #: The schedules' marks from an earlier run.
        self.schedule_marks = left.schedule_marks
        #: The functions that were paused in an earlier run.
        self.pauses = left.pauses
        self._loading: Loading | None = None
        #: The outcomes of earlier batches, and news of the store's health, for the broker to take.
        self.verdicts: deque[Verdict] = deque()
        # The writer's batches, the oldest first: the one that it writes, and at most one that waits behind it.
        self._in_flight: deque[Batch] = deque()
        self._is_late = False
        self._failed_at = 0.0
        self._loop = loop
        self._writer = Writer(self._database, loop, self._on_outcome)
        #: Whether the writer has written all its batches; None while it works.
        self._writer_has_ended: bool | None = None
        self._lazy_pause = Pause(loop, LAZY_DELAY_S)
        self._probe_pause = Pause(loop, PROBE_EVERY_S)
        self._look_s = min(self._timeout_s / _LOOKS, _LOOK_S)
        self._overdue_timer = loop.timer(self._look_s, self._look_s)
        self._look_timer = loop.timer(LOOK_EVERY_S, LOOK_EVERY_S)
        if self._database.wants_looks:
            self._look_timer.start(self._look)

    # --- life

    def restore_to(self, broker: Broker) -> None:
        """Hand the contents from an earlier run to the broker, which has this store. Jobs come back while it serves."""
        left, self._left = self._left, None
        if left is None:
            return
        broker.dead_letters.restore(left.letters, monotonic())
        broker.results.kept.restore(left.results, monotonic())
        broker.known_keys.restore(left.keys)
        broker.job_batches.restore(left.job_batches, monotonic())
        if not self._database.is_shared:
            broker.orphans.note_speaker = self._last_run.watch(broker.departures, self._writer)
        if left.look_ups is None:
            broker.end_replay(monotonic())
        else:
            rows = (left.pages, left.look_ups)
            former = self._last_run.doubts(monotonic())
            self._loading = Loading(rows, broker, former, self._loop, self._timeout_s, self._troubled)
            self._loading.start()

    def stop_writing(self) -> None:
        """Wait until the writer has written its batches. Blocks, but not for long.

        Then their outcomes are in `verdicts`. The broker has to take them before `close`, because it sets back the
        marks and letters of jobs that could not be inserted.
        """
        for waiting in (self._lazy_pause, self._probe_pause, self._overdue_timer, self._look_timer):
            waiting.stop()
        if self._loading is not None:
            self._loading.stop()
        self._writer_has_ended = self._writer.stop(CLOSE_PATIENCE_S)

    def close(self) -> None:
        """Write the remaining changes, and release the database. Blocks, but not for long."""
        if self._writer_has_ended is None:
            self.stop_writing()
        if self._write_the_rest():
            self._database.close()

    def _write_the_rest(self) -> bool:
        if not self._writer_has_ended:
            logger.error("the store %s does not answer: what was done last is not written", self._database.name)
            return False
        if self._left is not None:
            return True  # it never began to serve, so there is nothing to write
        self._add_repeated()
        try:
            if self._open:
                self._database.write(self._open, is_repeated=False)
            self._last_run.note_end()
        except StoreError as error:
            logger.error("the store %s: what was done last is not written: %s", self._database.name, error)
        return True

    # --- for the broker

    def take_numbers(self, at_most: int) -> range:
        """The numbers of new handles."""
        if self._number == self._numbers_end:
            if self._reserved is None:
                raise RefusedError(b"QUEUE_ERROR", b"The store gives no numbers for handles")
            self._number, self._numbers_end = self._reserved.start, self._reserved.stop
            self._reserved = None
        first = self._number
        self._number = min(first + at_most, self._numbers_end)
        return range(first, self._number)

    def insert(self, job: Job) -> None:
        """Add the job to the next batch."""
        batch = self._open
        if batch.since is None:
            batch.since = monotonic()
        batch.inserts[job] = None

    def insert_again(self, job: Job) -> None:
        """Add the job to a batch once the store can be written."""
        self._repeated.inserts[job] = None

    def unwritten(self) -> Iterable[Job]:
        """The jobs of the batches that are being written, and of the next one."""
        return chain(*[batch.inserts for batch in self._in_flight], self._open.inserts)

    def insert_owed(self, job: Job) -> None:
        """Add the job to the next batch, unless one has it."""
        if not any(job in batch.inserts for batch in (*self._in_flight, self._repeated)):
            self.insert(job)

    def update(self, job: Job, *, is_cursor_alone: bool = False) -> None:
        """Have the job's state, attempts and time written with the next batch."""
        batch = self._open
        if job not in batch.inserts and job not in self._repeated.inserts:
            batch.updates[job] = is_cursor_alone and batch.updates.get(job, True)

    def delete(self, job: Job) -> None:
        """Withdraw the insert of a job that has ended if no batch has taken it yet, else delete its row in the next."""
        batch = self._open
        if job in batch.inserts:
            del batch.inserts[job]
            batch.rewrites.pop(job, None)
            if not (batch.inserts or batch.is_awaited):
                batch.since = None
        else:
            if self._repeated.inserts:
                self._repeated.inserts.pop(job, None)
            batch.updates.pop(job, None)
            if batch.rewrites:
                batch.rewrites.pop(job, None)
            # Also of one that is not stored for all we know. Two calls are saved here: it is `row_id`.
            batch.deletes.append(int(job.handle.rpartition(b":")[2]))

    def set_pause(self, function: bytes, since: float | None) -> None:
        """Have a function's pause, or its end, written with the next batch; a verdict tells when that is done."""
        self._open.pauses[function] = since
        self._write_soon()

    def keep_batch(self, row: BatchRow, *, is_awaited: bool) -> None:
        """Have the row written, if somebody waits for it as soon as an insert."""
        if self.note_batch(row) and is_awaited:
            self._write_soon()

    def await_changes(self, number: int) -> None:
        """Have it told once every change so far is written: earlier batches are written before the open one."""
        self._open.awaited.append(number)
        self._write_soon()

    def _write_soon(self) -> None:
        """Somebody waits for the open batch: it is handed over as one with inserts is, and may take no longer."""
        self._open.is_awaited = True
        self._open.since = self._open.since or monotonic()

    def delete_followed(self, job: Job, end: FollowedEnd) -> None:
        """Withdraw the insert if no batch has taken it yet, else delete the row in the next, and count it."""
        before = len(self._open.deletes)
        self.delete(job)
        if len(self._open.deletes) > before:
            self._open.count_last_delete(end)

    # --- handing over

    def hand_over(self) -> None:
        """A pass ends: hand the accumulated changes to the writer, or let them wait a little longer."""
        batch = self._open
        if self._in_flight:
            if batch.inserts and self._in_flight[0].is_given_up:
                self.verdicts.append(InsertsFailed(self._take_inserts()))
            elif self._may_wait_behind(batch):
                self._hand_over()
        elif batch.inserts and self._is_in_trouble and self._repeated.undone > MAX_UNDONE:
            self.verdicts.append(InsertsFailed(self._take_inserts()))
        elif batch.inserts or batch.is_awaited:
            if not self._is_in_trouble:
                self._add_repeated()
            self._hand_over()
        elif (batch or self._repeated) and not self._is_in_trouble and not self._lazy_pause.is_running:
            self._lazy_pause.start(self._hand_over_late)

    def _may_wait_behind(self, batch: Batch) -> bool:
        """Whether the batch can be handed over while another is being written."""
        if len(self._in_flight) > 1 or self._is_in_trouble or not batch.has_inserts_alone:
            return False
        before = self._in_flight[0]
        return not before.undone and not before.job_batches and len(batch.inserts) >= len(before.inserts)

    def _hand_over_late(self) -> None:
        """Hand over, except in trouble: then the broker may not yet have set back the marks and letters of a batch that
        has just failed, and the probe hands them over."""
        if not self._is_in_trouble:
            self._hand_over_if_idle()

    def _hand_over_if_idle(self) -> None:
        """Try to write the open batch, even if it is empty: the store's answer is an outcome like any other."""
        if not self._in_flight:
            self._add_repeated()
            self._hand_over()

    def _add_repeated(self) -> None:
        """Put the inserts that are repeated into the open batch."""
        if self._repeated:
            self._open.add_repeated(self._repeated)
            self._open.since = self._open.since or monotonic()
            self._repeated = Batch()

    def _hand_over(self) -> None:
        batch, self._open = self._open, Batch()
        self._in_flight.append(batch)
        now = monotonic()
        # While the database is known to be away, submitters do not have to wait for its return.
        deadline = now if self._is_in_trouble or batch.since is None else batch.since + self._timeout_s
        has_few = self._reserved is None and self._numbers_end - self._number < _FEW_NUMBERS
        wants_numbers = has_few and len(self._in_flight) == 1
        self._writer.write(WriteOrder(batch, deadline, wants_numbers))
        if not self._overdue_timer.active:
            self._overdue_timer.start(self._look_at_the_clock)

    def _take_inserts(self) -> list[Job]:
        jobs = list(self._open.inserts)
        self._repeated.put_owed_aside(self._open)
        self._open.inserts.clear()
        self._open.since = None
        return jobs

    def _look_at_the_clock(self) -> None:
        """Note inserts that are late, and break off those that have taken longer than the timeout. Submitters hear
        what became of them once that is known."""
        waiting = [batch.since for batch in (*self._in_flight, self._open) if batch.since is not None]
        age_s = monotonic() - min(waiting, default=monotonic())
        if self._is_late != (age_s > LATE_S):
            self._is_late = not self._is_late
            self.verdicts.append(InsertsLate(self._is_late))
        if not self._in_flight:
            self._overdue_timer.stop()
        elif self._in_flight[0].is_given_up:
            self._database.break_off()  # the first time it may have been between two calls
        elif age_s >= self._timeout_s - self._look_s:
            self._troubled(StoreError(f"no answer within {self._timeout_s:g} s"))
            for batch in self._in_flight:
                batch.is_given_up = True
            self.verdicts.append(InsertsFailed(self._take_inserts()))
            self._database.break_off()

    # --- outcomes

    def _on_outcome(self, outcome: WriteOutcome) -> None:
        batch, failure = self._in_flight.popleft(), outcome.failure
        if outcome.numbers is not None:
            self._reserved = outcome.numbers
        if failure is not None:
            is_unknown = failure.is_unknown or batch.may_be_written
            self._note_rows(batch, are_written=False)
            self._repeated.put_aside(batch, self._open, is_unknown=is_unknown)
            self._bound(self._repeated.forgotten)
            self._open.take_back(batch)
            self._troubled(failure)
            if batch.pauses:
                self.verdicts.append(PausesKnown(batch.pauses, are_written=False))
            self.verdicts.append(InsertsFailed(batch.inserts, are_unknown=is_unknown))
            return
        self._succeeded()
        if batch.pauses:
            self.verdicts.append(PausesKnown(batch.pauses, are_written=True))
        if outcome.refused:
            self.verdicts.append(InsertsFailed(outcome.refused, batch.may_be_written, are_refused=True))
            for job in outcome.refused:
                del batch.inserts[job]
        self._settle_claims(batch)
        self.verdicts.append(InsertsWritten(batch.inserts))
        if batch.rewrites or batch.stops or batch.awaited:
            self.verdicts.append(ChangesWritten(batch.rewrites, batch.stops, batch.awaited))
        self._note_rows(batch, are_written=True)

    def _settle_claims(self, batch: Batch) -> None:
        """Tell what others have done first: there are no others."""

    def _note_rows(self, batch: Batch, *, are_written: bool) -> None:
        if batch.job_batches:
            serials = {name: row.serial for name, row in batch.job_batches.items()}
            self.verdicts.append(BatchRowsWritten(serials, are_written))

    def _troubled(self, failure: StoreError) -> None:
        if isinstance(failure, OwnershipLostError):
            self._note_lost(str(failure))
        self._failed_at = monotonic()
        if not self._is_in_trouble:
            self._is_in_trouble = True
            self.verdicts.append(StoreFailed(f"the store {self._database.name} fails: {failure}"))
        self._probe_pause.start(self._hand_over_if_idle)

    def _note_lost(self, reason: str) -> None:
        """The rows are another server's now."""
        self.verdicts.append(StoreLost(reason))

    def _look(self) -> None:
        """See whether the store is still there, if nothing else would."""
        if not self._in_flight and not self._is_in_trouble:
            self._in_flight.append(Batch())
            self._writer.write(WriteOrder(self._in_flight[0], monotonic(), is_look=True))

    def _succeeded(self) -> None:
        """Note a successful write. On a full disk some batches find room and others don't: that is no recovery yet."""
        if not self._is_in_trouble:
            return
        if monotonic() - self._failed_at < WELL_AFTER_S:
            if not self._probe_pause.is_running:
                self._probe_pause.start(self._hand_over_if_idle)
            return
        self._is_in_trouble = False
        self._probe_pause.stop()
        self.verdicts.append(StoreRecovered())
