"""A queue whose durable jobs are not given out, because it is not certain that they are still ours. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from gearman_server.compiled.python_class import python_class
from gearman_server.jobs.function import JobQueue
from gearman_server.jobs.job import QUEUED

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job


@python_class
class LapsedQueue(JobQueue):
    """The foreground jobs of one function and priority, which go on, and apart from them the durable ones."""

    is_lapsed = True

    def __init__(self, older: JobQueue) -> None:
        """`older` is the queue until now."""
        super().__init__(job for job in older if job.state is QUEUED and not job.is_background)
        self.durable = JobQueue(job for job in older if job.state is QUEUED and job.is_background)

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) - self.tombstones + self.durable.waiting

    def append(self, job: Job) -> None:
        """Queue a new job, or one that is to run again."""
        if job.is_background:
            self.durable.append(job)
        else:
            super().append(job)

    def appendleft(self, job: Job) -> None:
        """Put a job back at the head."""
        if job.is_background:
            self.durable.appendleft(job)
        else:
            super().appendleft(job)

    def withdraw(self, jobs: Collection[Job]) -> None:
        """Take out these jobs, which came lately."""
        self.durable.withdraw({job for job in jobs if job.is_background})
        super().withdraw({job for job in jobs if not job.is_background})

    def bury(self, job: Job) -> None:
        """Note that this job, which is in here, has just ended."""
        if job.is_background:
            self.durable.bury(job)
        else:
            super().bury(job)

    def as_regained(self) -> JobQueue:
        """An ordinary queue of the same jobs, the durable ones at the head."""
        queue = JobQueue(job for job in self.durable if job.state is QUEUED)
        queue.extend(job for job in self if job.state is QUEUED)
        return queue
