"""Jobs that wait for a time, whichever clock it is of: the heap of those who watch the clocks. Pure.

A job that is dropped stays in the heap until it is first, or until half of the heap are such jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from gearman_server.jobs.job import Job, JobState

#: Jobs released before others have their turn; the next ones follow at once.
RELEASES_AT_ONCE: Final = 1000


class DelayHeap:
    """Delayed jobs, by the time at which they are due; of equally due ones the first that came is first."""

    def __init__(self, release: Callable[[Job], None]) -> None:
        self._release = release
        self._heap: list[tuple[float, int, Job]] = []
        self._serial = count()
        self._dropped = 0

    @property
    def first_due(self) -> float | None:
        """When the first of them is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, job: Job, due: float) -> None:
        """Release the job at that time."""
        heappush(self._heap, (due, next(self._serial), job))

    def note_dropped(self) -> None:
        """One of the jobs in here will never run."""
        self._dropped += 1
        if self._dropped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].state is JobState.DELAYED]
            heapify(self._heap)
            self._dropped = 0

    def release_due(self, now: float) -> None:
        """Release what is due by now, very many in several calls."""
        for _ in range(RELEASES_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                break
            job = heappop(self._heap)[2]
            if job.state is JobState.DELAYED:
                self._release(job)
            else:
                self._dropped -= 1
