"""The shortest ways in the life of plain jobs, which most are: what `JobLife` does with one call for each step. Pure.

Of functions without limits on starts (`Throttle`) many jobs are given to a worker in one loop, and a job without extras
is ended in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gearman_server.jobs.events import JobAssigned
from gearman_server.jobs.job import ASSIGN, END

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session


class PlainJobs:
    """Gives plain jobs to workers, and ends them."""

    def __init__(self, life: JobLife) -> None:
        self._life = life
        self._agenda = life.agenda
        self._table = life.table
        self._jobs = life.jobs
        self._events = life.events

    def assign_unbegun(
        self, jobs: Sequence[Job], function: Function, worker: Session, since: dict[bytes, float], now: float
    ) -> None:
        """As `JobLife.assign_unbegun` for each of a function's jobs; note in `since` since when each has waited."""
        assigned, counts = worker.assigned, function.counts
        for job in jobs:
            handle = job.handle
            job.state = ASSIGN[job.state]
            job.worker = worker
            assigned[handle] = job
            since[handle] = job.since
            if counts is not None:
                counts[job.priority].note_start(now - job.since, handle, now)
            if job.extras is not None and job.extras.options is not None and job.extras.options.is_unique_until_start:
                self._table.forget_key(job)
            job.since = now
        function.running += len(jobs)
        if self._events.wants_jobs:
            for job in jobs:
                self._events.emit(JobAssigned(job.handle, function.name, worker.identity))

    def end(self, job: Job, worker: Session) -> None:
        """As `JobLife.release_worker` and `JobLife.end` for a job of this worker that has no extras."""
        handle = job.handle
        del worker.assigned[handle]
        worker.done_at = self._agenda.now
        job.worker = None
        job.function.running -= 1
        job.state = END[job.state]
        self._jobs.pop(handle, None)  # as there: it may be another server's now
        if job.unique:
            self._table.forget_key(job)
        if job.listeners:
            self._table.forget_listeners(job)
        if job.record is not None:
            self._life.durability.job_ended(job)
