"""Takes the store's news about changes and about itself to those whom they concern. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.jobs.batch_rows import BatchRowsWritten
from gearman_server.jobs.store import (
    ChangesWritten,
    InsertsFailed,
    InsertsKnown,
    InsertsLate,
    InsertsLost,
    InsertsNotAdmitted,
    InsertsWritten,
    PausesKnown,
    RunsSettled,
)

if TYPE_CHECKING:
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.store import Store, Verdict
    from gearman_server.requests.insert_outcomes import InsertOutcomes
    from gearman_server.requests.pauses import Pauses
    from gearman_server.requests.scheduler import Scheduler
    from gearman_server.sequels.job_batches import JobBatches


class StoreNews:
    """Acts on verdicts."""

    def __init__(
        self,
        store: Store,
        life: JobLife,
        inserts: InsertOutcomes,
        pauses: Pauses,
        job_batches: JobBatches,
        scheduler: Scheduler,
    ) -> None:
        self._store = store
        self._life = life
        self._durability = life.durability
        self._inserts = inserts
        self._pauses = pauses
        self._job_batches = job_batches
        self._scheduler = scheduler

    def act_on(self, verdict: Verdict) -> None:
        """Act on one."""
        if isinstance(verdict, InsertsWritten):
            self._inserts.written(verdict.jobs)
        elif isinstance(verdict, InsertsFailed):
            self._inserts.failed(verdict)
        elif isinstance(verdict, ChangesWritten):
            self._durability.changes_written(verdict)
        elif isinstance(verdict, PausesKnown):
            self._pauses.note_outcome(verdict)
        elif isinstance(verdict, BatchRowsWritten):
            self._job_batches.note_written(verdict)
        elif isinstance(verdict, InsertsLost):
            self._inserts.lost(verdict.jobs)
        elif isinstance(verdict, InsertsKnown):
            self._inserts.known(verdict.jobs)
        elif isinstance(verdict, InsertsNotAdmitted):
            self._inserts.refused(verdict.jobs)
        elif isinstance(verdict, RunsSettled):
            self._scheduler.note_settled(verdict)
        else:
            self._durability.note_health(verdict)
            if self._durability.is_holding:
                self._life.hold_back(self._store.unwritten())
            if not isinstance(verdict, InsertsLate):
                self._life.events.emit(verdict)
