"""Jobs of a dead server become ours: rows into jobs, ahead of the jobs that we have. Pure.

A dead server may have given out jobs, or had their ends, and could not write that any more. So for a while after its
death all that come from it are in doubt, and wait for words of their workers (see `orphans`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gearman_server.cluster.durable_jobs import take_place
from gearman_server.errors import RefusedError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import QUEUED, WRITTEN

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.store import StoredJob
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.orphans.orphans import Orphans
    from gearman_server.requests.restoring import Restoring


class Adoption:
    """Takes in what was adopted."""

    def __init__(
        self, restoring: Restoring, life: JobLife, wake_up: WakeUp, attempts: Attempts, orphans: Orphans
    ) -> None:
        self._restoring = restoring
        self._agenda = life.agenda
        self._jobs = life.jobs
        self._wake = wake_up.wake
        self._attempts = attempts
        self._orphans = orphans
        #: The adopted jobs at the head of each queue, in their order.
        self._heads: dict[tuple[Function, int], deque[Job]] = defaultdict(deque)
        self._has_ended = True
        #: How many jobs have come from other servers.
        self.adopted = 0
        #: Jobs in doubt, and until when (monotonic seconds).
        self._doubted: deque[tuple[float, list[Job]]] = deque()
        self._alarm = self._agenda.alarm(self._end_doubts)
        self._is_queueing = False

    def take_in(
        self, rows: Iterable[StoredJob], now: float, until: float, *, has_left: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Take in some rows, the oldest of a priority first. Yields the ids of those that can't be used, and why.

        until: how long words of workers are waited for (monotonic seconds).
        has_left: their server has ended in order, and has written of each job whether it is running.
        """
        self._agenda.now = now
        self._has_ended = False
        ready: list[Job] = []
        doubted: list[Job] = []
        for row in rows:
            known = self._jobs.get(row.handle)
            if known is not None:
                self._find_again(known)
                continue
            try:
                job = self._restoring.restore(row, now, in_doubt=True)
            except RefusedError as error:
                yield row.id, str(error)
                continue
            self.adopted += 1
            if job is None or job.state is not QUEUED or self._orphans.claim(job, was_running=row.was_running):
                continue
            if now < until and (row.was_running or not has_left):
                self._orphans.doubt(job, was_running=row.was_running)
                doubted.append(job)
            elif not row.was_running or self._attempts.lose_server(job):
                ready.append(job)
        if doubted:
            self._doubted.append((until, doubted))
            self._alarm.by(until)
        self._place(ready)

    def _find_again(self, job: Job) -> None:
        """It was ours before we were declared dead, and our worker still has it: it is ours again."""
        if job.record is None and job.worker is not None and job.is_background:
            job.record = WRITTEN

    def _place(self, jobs: Iterable[Job]) -> None:
        """Queue jobs behind those that were adopted before them, and ahead of all others."""
        places: dict[tuple[Function, int], list[Job]] = defaultdict(list)
        for job in jobs:
            places[job.function, job.priority].append(job)
        for (function, priority), placed in places.items():
            head = self._heads[function, priority]
            while head and head[0].state is not QUEUED:
                head.popleft()
            take_place(function, priority, placed, len(head))
            head.extend(placed)
            self._wake(function, len(placed))

    # --- doubts

    def _end_doubts(self, _now: float) -> None:
        if not self._is_queueing:
            self._agenda.chores.start(self._queue_doubted())

    def _queue_doubted(self) -> Iterator[None]:
        self._is_queueing = True
        while self._doubted and self._doubted[0][0] <= self._agenda.now:
            jobs = self._doubted.popleft()[1]
            for at in range(0, len(jobs), STEP):
                self._place([job for job in jobs[at : at + STEP] if self._orphans.end_doubt(job)])
                yield
        self._is_queueing = False
        if self._doubted:
            self._alarm.by(self._doubted[0][0])
        self._forget_heads()

    def end(self) -> None:
        """Nothing more comes for now."""
        self._has_ended = True
        self._forget_heads()

    def _forget_heads(self) -> None:
        if self._has_ended and not self._doubted and not self._is_queueing:
            self._heads.clear()
