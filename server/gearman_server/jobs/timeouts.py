"""Deadlines after which a worker loses a job that it has had for too long. Pure: the time is handed in.

The deadlines are in a heap, whose entries hold handles, not jobs, so that no workload outlives its job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from gearman_server.jobs.job import Job

#: The reason of a JobRequeued whose worker kept the job longer than it had announced.
OVERRAN: Final = "its worker overran the timeout"
#: The reason of a JobFailed or AttemptFailed whose attempt took too long.
TIMEOUT: Final = b"timeout"
_SWEEP_ABOVE: Final = 1024


class Overrun(Enum):
    """The limit that a job has overrun. It decides on the job's fate."""

    #: The worker's own limit, from CAN_DO_TIMEOUT: the worker counts as lost under the job.
    ANNOUNCED = "announced"
    #: The limit of the function's policy: the attempt has failed.
    POLICY = "policy"
    #: The time for its worker to stop it: it is over for its clients.
    STOP = "stop"


class HandleHeap:
    """Times at which something is due for jobs, by their handles; the first comes first.

    An entry that is not live any more stays until such entries outnumber the live ones.
    """

    def __init__(self, live: Callable[[bytes, float], Job | None]) -> None:
        """`live` returns the job for a handle, unless this time no longer counts for it."""
        self._live = live
        self._heap: list[tuple[float, int, bytes, Overrun | None]] = []
        self._serial = count()
        self._sweep_above = _SWEEP_ABOVE

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first_due(self) -> float | None:
        """When the first is due; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, due: float, handle: bytes, overrun: Overrun | None = None) -> None:
        """Note a time, and what it means."""
        heappush(self._heap, (due, next(self._serial), handle, overrun))
        if len(self._heap) > self._sweep_above:
            self._heap = [entry for entry in self._heap if self._live(entry[2], entry[0]) is not None]
            heapify(self._heap)
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._heap))

    def take_due(self, now: float, most: int) -> Iterator[tuple[Job, Overrun | None]]:
        """The jobs whose times have come; no more than `most` of them, the others remain due."""
        while most > 0 and self._heap and self._heap[0][0] <= now:
            due, _, handle, overrun = heappop(self._heap)
            job = self._live(handle, due)
            if job is not None:
                most -= 1
                yield job, overrun


class JobTimeouts:
    """Deadlines of running jobs."""

    def __init__(self, jobs: Mapping[bytes, Job]) -> None:
        self._jobs = jobs
        self._deadlines = HandleHeap(self._live)
        #: The first deadline; None if there is none.
        self.next_due: float | None = None

    def start(self, job: Job, deadline: float, overrun: Overrun) -> None:
        """Set the job's deadline, instead of any earlier one."""
        job.with_extras().deadline = deadline
        self._deadlines.add(deadline, job.handle, overrun)
        self.next_due = self._deadlines.first_due

    def stop(self, job: Job) -> None:
        """Forget the job's deadline."""
        job.with_extras().deadline = None

    def take_due(self, now: float, most: int) -> Iterator[tuple[Job, Overrun]]:
        """The jobs whose deadlines have passed, each once; no more than `most` of them, the others remain due."""
        for job, overrun in self._deadlines.take_due(now, most):
            job.with_extras().deadline = None
            if overrun is not None:
                yield job, overrun
        self.next_due = self._deadlines.first_due

    def _live(self, handle: bytes, deadline: float) -> Job | None:
        """The job, unless it has ended or was given to another worker meanwhile."""
        job = self._jobs.get(handle)
        return job if job is not None and job.rare.deadline == deadline else None
