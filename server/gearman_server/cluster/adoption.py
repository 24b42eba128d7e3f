"""Jobs of a dead server become ours: rows into jobs, ahead of the jobs that we have. Pure.

A dead server may have given out jobs, or had their ends, and could not write that any more. So for a while after its
death all that come from it are in doubt, and wait for words of their workers (see `orphans`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from gearman_server.errors import RefusedError

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.store import StoredJob
    from gearman_server.orphans.doubts import Doubts
    from gearman_server.requests.restoring import Restoring


class Adoption:
    """Takes in what was adopted."""

    def __init__(
        self, restoring: Restoring, life: JobLife, doubts: Doubts, forget_ceded: Callable[[bytes], None]
    ) -> None:
        """`forget_ceded` forgets a job that was ours before we were declared dead, and whose worker has it still: it
        comes back as ours, and its worker is known to run it."""
        self._forget_ceded = forget_ceded
        self._restoring = restoring
        self._agenda = life.agenda
        self._jobs = life.jobs
        self._doubts = doubts
        #: How many jobs have come from other servers.
        self.adopted = 0

    def take_in(
        self, rows: Iterable[StoredJob], now: float, until: float, *, has_left: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Take in some rows, the oldest of a priority first. Yields the ids of those that can't be used, and why.

        until: how long words of workers are waited for (monotonic seconds).
        has_left: their server has ended in order, and has written of each job whether it is running.
        """
        self._agenda.now = now
        ready: list[Job] = []
        for row in rows:
            self._forget_ceded(row.handle)
            if row.handle in self._jobs:
                continue
            try:
                job = self._restoring.restore(row, now)
            except RefusedError as error:
                yield row.id, str(error)
                continue
            self.adopted += 1
            doubted_until = until if row.was_running or not has_left else 0.0
            if job is not None and self._doubts.settle(job, doubted_until, was_running=row.was_running):
                ready.append(job)
        self._doubts.place(ready)

    def end(self) -> None:
        """Nothing more comes for now."""
        self._doubts.end()
