"""When a worker that announced a timeout (CAN_DO_TIMEOUT) loses its job. Pure: the time is handed in.

A heap of deadlines whose entries are left behind when a job ends in time, and swept out before they outnumber the live.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from gearman_server.job import Job

_SWEEP_ABOVE: Final = 1024


class JobTimeouts:
    """Deadlines of running jobs."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []
        self._serial = count()  # keeps jobs themselves from being compared
        self._sweep_above = _SWEEP_ABOVE

    @property
    def next_due(self) -> float | None:
        """When the first deadline passes; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def start(self, job: Job, deadline: float) -> None:
        """From now on the job is due at `deadline`, and only then."""
        job.deadline = deadline
        heappush(self._heap, (deadline, next(self._serial), job))
        if len(self._heap) > self._sweep_above:
            self._heap = [entry for entry in self._heap if entry[2].deadline == entry[0]]
            heapify(self._heap)
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._heap))

    def take_due(self, now: float) -> list[Job]:
        """The jobs whose deadline has passed, each once."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            deadline, _, job = heappop(self._heap)
            if job.deadline == deadline:
                job.deadline = None
                due.append(job)
        return due
