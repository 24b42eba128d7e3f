"""What the store says of inserts, and what that means for their jobs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_server.jobs.batch_rows import Outcome
from gearman_server.jobs.job import WRITTEN
from gearman_server.jobs.replies import error, job_created
from gearman_server.sequels.job_batches import INVALID_BATCH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.store import InsertsFailed

_NOT_ADMITTED: Final = error(INVALID_BATCH, b"there is no open batch of this id")


class InsertOutcomes:
    """Acknowledges jobs, gives them out, drops them, or has them inserted again."""

    def __init__(self, life: JobLife) -> None:
        self._life = life
        self._durability = life.durability

    def written(self, jobs: Collection[Job]) -> None:
        """Acknowledge jobs that are written, and put those that were held into their queues."""
        self._durability.inserts_written(jobs)
        if self._life.held:
            self._life.release_held(jobs)

    def failed(self, failed: InsertsFailed) -> None:
        """Deal with inserts that failed: a job that has not run, is surely not stored and is wanted by no foreground
        client is dropped, and its submitters are told. All others go on, and are inserted again."""
        durability = self._durability
        for job in list(failed.jobs):
            if job.record is None or job.record is WRITTEN:
                continue  # it has ended meanwhile
            is_unknown = failed.are_unknown or durability.is_unknown(job)
            is_owed = durability.is_owed(job)
            may_be_dropped = job.is_waiting and not is_unknown and job.history is None and not job.listeners
            if may_be_dropped and (not is_owed or failed.are_refused):
                durability.insert_failed(job)
                self._life.drop(job, "could not be stored", Outcome.FAILED if is_owed else None)
                durability.tell_failed(job)
            elif failed.are_refused and is_unknown and durability.are_keys_shared and job.is_waiting:
                self._leave_to_its_row(job)
            elif not failed.are_refused:
                durability.insert_again(job, is_unknown=is_unknown)
                if is_unknown:
                    self._life.hold_back([job])

    def _leave_to_its_row(self, job: Job) -> None:
        """The commit that got no answer had succeeded, so its row is in the way of another insert. Others have declared
        this server dead since then, and have the job."""
        self._durability.answer_instead(job, job_created(job.handle))
        self.lost([job])

    def lost(self, jobs: Collection[Job]) -> None:
        """Forget jobs that were held, and were not inserted because another server has done what they were for."""
        for job in jobs:
            if job.is_waiting:
                self._life.let_go(job)
                self._durability.tell_failed(job)
                self._durability.withdraw(job)

    def known(self, jobs: Mapping[Job, bytes]) -> None:
        """Answer the submissions of jobs that are known in the cluster with the handles of those, and forget them."""
        self._durability.known_as = jobs
        for job, handle in jobs.items():
            if job.record is None:
                continue  # it has ended meanwhile
            self._durability.answer_instead(job, job_created(handle))
            if job.listeners or not job.is_waiting:
                self._leave_to_foreground(job)
            elif job.followed is not None and self._life.following is not None:
                self._life.following.end(job, job.followed, None, b"")
        self.lost([job for job in jobs if job.is_background])
        self._durability.known_as = {}

    def _leave_to_foreground(self, job: Job) -> None:
        """A client waits for its end, or a worker has it on behalf of one: it is that client's alone from now on."""
        job.is_background = False
        self._life.release_held((job,))
        self._durability.tell_failed(job)
        self._durability.withdraw(job)

    def refused(self, jobs: Collection[Job]) -> None:
        """Refuse submissions whose batch of jobs takes no more."""
        for job in jobs:
            if job.is_waiting:
                self._durability.answer_instead(job, _NOT_ADMITTED)
        self.lost(jobs)
