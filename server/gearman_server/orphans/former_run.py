"""Which jobs of this store's former run workers may have still, or may have ended without its knowledge. Pure.

A server that ends in order writes which jobs run. One that is killed has not written what happened in its last moments:
that a job was given out, or that it has ended. Such jobs are among the oldest of their queues.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job

#: So many jobs at the head of a queue may have been given out, or have ended, before that was written.
HEAD: Final = 10_000


class FormerRun:
    """What is known of a server that is gone and had this store before."""

    def __init__(self, until: float, *, ended_in_order: bool) -> None:
        """until: how long words of workers are waited for (monotonic seconds)."""
        self._until = until
        self._ended_in_order = ended_in_order
        #: By queue, and by key within it: how many jobs have come back.
        self._heads: Counter[tuple[Function, int, bytes]] = Counter()

    def doubted_until(self, job: Job, *, was_running: bool) -> float:
        """How long this job waits for its worker's word (monotonic seconds); call it for each, the oldest first."""
        if was_running:
            if self._until > 0 and job.function.policy.max_running is not None:
                job.function.hold_until(self._until)  # what runs at workers counts once they have said so
            return self._until
        if self._ended_in_order:
            return 0.0
        queue = (job.function, job.priority, job.key)
        self._heads[queue] += 1
        return self._until if self._heads[queue] <= HEAD else 0.0


#: No worker has anything of an earlier run.
NOTHING_RUNS: Final = FormerRun(0.0, ended_in_order=True)
