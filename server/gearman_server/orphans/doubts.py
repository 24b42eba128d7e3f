"""Jobs that come from the rows of a server that is gone: a worker has them, or they are in doubt, or queued. Pure.

A job in doubt waits for the word of its worker (see `orphans`). Without one it is queued where it would have been:
ahead of the jobs that have come since, behind those that came from the store before it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import QUEUED

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.orphans.orphans import Orphans


class Doubts:
    """Decides on jobs that come from the store, and ends doubts when their time is over."""

    def __init__(self, life: JobLife, wake_up: WakeUp, attempts: Attempts, orphans: Orphans) -> None:
        self._agenda = life.agenda
        self._wake_up = wake_up
        self._attempts = attempts
        self.orphans = orphans
        #: The jobs from the store at the head of each queue, in their order.
        self._heads: dict[tuple[Function, int], deque[Job]] = defaultdict(deque)
        #: Whether no more jobs come from the store for now.
        self._has_ended = True
        #: Jobs in doubt, and until when (monotonic seconds).
        self._doubted: deque[tuple[float, list[Job]]] = deque()
        self._alarm = self._agenda.alarm(self._end_doubts)
        self._is_queueing = False

    def settle(self, job: Job, until: float, *, was_running: bool) -> bool:
        """Decide on a job that is in no queue. Returns whether it is to be queued now; else it waits for its time, or a
        worker has it, or it is in doubt until that time (monotonic seconds), or over."""
        if job.state is not QUEUED or self.orphans.claim(job, was_running=was_running):
            return False
        if self._agenda.now < until:
            self._has_ended = False
            self.orphans.doubt(job, was_running=was_running)
            if not self._doubted or self._doubted[-1][0] != until:
                self._doubted.append((until, []))
                self._alarm.by(until)
            self._doubted[-1][1].append(job)
            return False
        return not was_running or self._attempts.lose_server(job)

    def place(self, jobs: Iterable[Job]) -> None:
        """Queue jobs behind those that came before them, and ahead of all others."""
        places: dict[tuple[Function, int], list[Job]] = defaultdict(list)
        for job in jobs:
            places[job.function, job.priority].append(job)
        for (function, priority), placed in places.items():
            head = self._heads[function, priority]
            while head and head[0].state is not QUEUED:
                head.popleft()
            _take_place(function, priority, placed, len(head))
            head.extend(placed)
            self._wake_up.wake(function, len(placed))

    def end(self) -> None:
        """Nothing more comes for now."""
        self._has_ended = True
        self._forget_heads()

    def _end_doubts(self, _now: float) -> None:
        if not self._is_queueing:
            self._agenda.chores.start(self._queue_doubted())

    def _queue_doubted(self) -> Iterator[None]:
        self._is_queueing = True
        while self._doubted and self._doubted[0][0] <= self._agenda.now:
            jobs = self._doubted.popleft()[1]
            for at in range(0, len(jobs), STEP):
                self.place([job for job in jobs[at : at + STEP] if self.orphans.end_doubt(job)])
                yield
        self._is_queueing = False
        if self._doubted:
            self._alarm.by(self._doubted[0][0])
        self._forget_heads()

    def _forget_heads(self) -> None:
        if self._has_ended and not self._doubted and not self._is_queueing:
            self._heads.clear()


def _take_place(function: Function, priority: int, jobs: list[Job], behind: int) -> None:
    """Put jobs ahead of the queue's own, but behind so many of those that came before them."""
    queue = function.queues[priority]
    if queue.is_keyed or queue.is_lapsed:
        for job in jobs:
            queue.append(job)
        return
    queue.rotate(-behind)
    queue.extendleft(reversed(jobs))
    queue.rotate(behind)
