"""What a store that others use too does with everything but jobs: schedules, keys, dead letters, kept results.

One server's memory holds nothing of it: the tables are the truth, and are read when somebody asks. A change that only
one server may make is made on a condition, in the transaction of the job that it is for (see `claims.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gearman_server.cluster.shared_batch_requests import SharedBatchRequests
from gearman_server.cluster.shared_batches import SharedBatches
from gearman_server.cluster.shared_results import SharedResults
from gearman_server.jobs.store import InsertsKnown, InsertsLost, InsertsNotAdmitted, RunsSettled
from gearman_server.sharing.batches import BatchTable
from gearman_server.sharing.letters import SharedLetters
from gearman_server.sharing.reader import Reader
from gearman_server.sharing.results import ResultsTable
from gearman_server.sharing.schedule_marks import PauseAsked, SharedMarks
from gearman_server.sharing.tidying import Tidying
from gearman_server.stores.sql_store import SqlStore

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRun
    from gearman_server.jobs.store import KnownKey
    from gearman_server.loop import Loop
    from gearman_server.stores.backend import Backend
    from gearman_server.stores.batch import Batch
    from gearman_server.stores.database import Database
    from gearman_server.stores.settings import StoreSettings


class SharedChanges(SqlStore):
    """The part of a shared store that knows these tables."""

    def __init__(self, settings: StoreSettings, loop: Loop, database: Database, backend: Backend) -> None:
        super().__init__(settings, loop, database)
        #: For questions about what is in the tables.
        self.reader = Reader(database.engine, backend, loop, settings.timeout_s)
        self._marks = SharedMarks(database, self._writer, loop)
        self._letters = SharedLetters(self.reader, self._insert_for_letter)
        self._tidying = Tidying(self.reader, loop)
        #: Told whether the table has batches of jobs that are due, if that was looked for.
        self._note_due_batches: Callable[[bool | None], None] = lambda _are_due: None

    def restore_to(self, broker: Broker) -> None:
        """Have the broker use the tables."""
        super().restore_to(broker)
        self._marks.start(broker.scheduler)
        broker.dead_commands.share(self._letters)
        shared = SharedBatches(
            broker.job_batches, BatchTable(self.reader), self._finish_batch, broker.ends_of_batches()
        )
        self._batch_requests = SharedBatchRequests(broker.job_batches, shared)
        self._note_due_batches = shared.note_due
        broker.durability.are_keys_shared = True
        broker.results.kept.are_shared = True
        self._shared_results = SharedResults(
            broker.results, ResultsTable(self.reader).look, broker.durability.after_changes
        )
        self._tidying.start(broker)

    def stop_writing(self) -> None:
        """Read no more, and wait until the writer has written its batches."""
        self._marks.stop()
        self._tidying.stop()
        self.reader.stop()
        super().stop_writing()

    def _settle_claims(self, batch: Batch) -> None:
        """Tell what others have done first."""
        for job in (*batch.lost, *batch.known, *batch.not_admitted, *(run.job for run, _ in batch.lost_runs)):
            if job is not None:
                batch.inserts.pop(job, None)
        if batch.lost:
            self.verdicts.append(InsertsLost(batch.lost))
        if batch.not_admitted:
            self.verdicts.append(InsertsNotAdmitted(batch.not_admitted))
        if batch.known:
            self.verdicts.append(InsertsKnown(batch.known))
        if batch.runs:
            lost = [run for run, _ in batch.lost_runs]
            won = [run for run in batch.runs if run not in lost and (run.job is None or run.job in batch.inserts)]
            self.verdicts.append(RunsSettled(won, batch.lost_runs))

    # --- schedules

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """Begin with the mark, unless others have."""
        self._marks.change(name, mark)

    def pause_schedule(self, name: str, mark: ScheduleMark, identity: Identity) -> None:
        """Have the pause of the mark, or its end, written for all servers."""
        self._marks.pause(name, PauseAsked(mark, identity))

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Forget schedules that this server no longer has; others may have them."""
        for name in names:
            self._marks.change(name, None)

    def note_run(self, run: ScheduleRun) -> None:
        """Have the run claimed with the insert of its job."""
        self._open.runs.append(run)

    # --- dead letters

    def bury(self, letter: DeadLetter) -> None:
        """Have the letter written with the delete of its job's row, which is the next call."""
        super().bury(letter)
        self._tidying.note_letter()

    # --- batches of jobs

    def insert_owed(self, job: Job) -> None:
        """Add the job to the next batch, unless one has it."""
        super().insert_owed(job)
        self._open.owed[job] = None

    def _finish_batch(self, name: bytes, callbacks: list[Job]) -> None:
        """Have it written that a batch is done, if no other server has done so."""
        self._open.finished[name] = callbacks
        self._write_soon()

    # --- keys

    def remember(self, key: KnownKey) -> None:
        """Have the key written with the delete of its job's row, which is the next call."""
        self._open.key_rows[key] = True

    def forget_keys(self, keys: Sequence[KnownKey]) -> None:
        """Forget these keys, unless they are other jobs' by now."""
        for key in keys:
            self._open.key_rows.pop(key, None)
            self._open.key_rows[key] = False
        self._bound(self._open.key_rows)

    # --- kept results

    def keep(self, result: KeptResult) -> None:
        """Have the result written with the delete of its job's row, which is the next call."""
        super().keep(result)
        self._tidying.note_result()

    def _insert_for_letter(self, job: Job) -> None:
        """Insert the job if its letter is removed in the same transaction."""
        self.insert(job)
        self._open.revived[job] = None
