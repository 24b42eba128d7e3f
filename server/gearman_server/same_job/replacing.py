"""Puts a newer workload in place of a waiting one with the same unique key: debouncing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.errors import RefusedError
from gearman_server.jobs.job import DELAYED
from gearman_server.jobs.replies import job_created

if TYPE_CHECKING:
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session


class Replacing:
    """Replaces workloads of jobs that wait for their first attempt, or for their next one."""

    def __init__(self, life: JobLife, durability: Durability) -> None:
        self._life = life
        self._durability = durability

    def replace(self, session: Session, job: Job, workload: bytes, run_at: float | None) -> None:
        """Give a waiting background job another workload, and answer its submitter once that is written. If the job
        still waits for its time, the newer submission's time is the new one.

        Raises:
            RefusedError: the store can't be written now; the job stays as it is.
        """
        if job.record is not None and self._durability.trouble is not None:
            raise RefusedError(b"QUEUE_ERROR", b"The job could not be stored")
        job.workload = workload
        if run_at is not None and job.state is DELAYED and job.history is None:
            self._life.delay_again(job, run_at)
        if job.record is None:
            session.reply(job_created(job.handle))
        else:
            self._durability.rewrite(session, job)
