"""Deadlines after which a worker loses a job that it has had for too long. Pure: the time is handed in.

The deadlines are in a heap. An entry stays there when its job ends in time, and is swept out before such entries
outnumber the live ones. Entries hold handles, not jobs, so that no workload outlives its job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from gearman_server.jobs.job import Job

_SWEEP_ABOVE: Final = 1024


class Overrun(Enum):
    """The limit that a job has overrun. It decides on the job's fate."""

    #: The worker's own limit, from CAN_DO_TIMEOUT: the worker counts as lost under the job.
    ANNOUNCED = "announced"
    #: The limit of the function's policy: the attempt has failed.
    POLICY = "policy"


class JobTimeouts:
    """Deadlines of running jobs."""

    def __init__(self, jobs: Mapping[bytes, Job]) -> None:
        self._jobs = jobs
        self._heap: list[tuple[float, int, bytes, Overrun]] = []
        self._serial = count()
        self._sweep_above = _SWEEP_ABOVE
        #: The first deadline; None if there is none.
        self.next_due: float | None = None

    def start(self, job: Job, deadline: float, overrun: Overrun) -> None:
        """Set the job's deadline, instead of any earlier one."""
        job.with_extras().deadline = deadline
        heappush(self._heap, (deadline, next(self._serial), job.handle, overrun))
        if len(self._heap) > self._sweep_above:
            self._heap = [entry for entry in self._heap if self._live(entry[2], entry[0]) is not None]
            heapify(self._heap)
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._heap))
        self.next_due = self._heap[0][0]

    def stop(self, job: Job) -> None:
        """Forget the job's deadline."""
        job.with_extras().deadline = None

    def take_due(self, now: float, most: int) -> Iterator[tuple[Job, Overrun]]:
        """The jobs whose deadlines have passed, each once; no more than `most` of them, the others remain due."""
        while most > 0 and self._heap and self._heap[0][0] <= now:
            deadline, _, handle, overrun = heappop(self._heap)
            job = self._live(handle, deadline)
            if job is not None:
                job.with_extras().deadline = None
                most -= 1
                yield job, overrun
        self.next_due = self._heap[0][0] if self._heap else None

    def _live(self, handle: bytes, deadline: float) -> Job | None:
        """The job, unless it has ended or was given to another worker meanwhile."""
        job = self._jobs.get(handle)
        return job if job is not None and job.rare.deadline == deadline else None
