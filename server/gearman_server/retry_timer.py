"""Failed jobs that wait for their next attempt, by the monotonic clock, to the millisecond. Pure.

Beside `schedule`, which goes by the wall clock: nobody who sets that may shorten or stretch a back-off.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from gearman_server.job import Job, JobState

if TYPE_CHECKING:
    from gearman_server.agenda import Agenda

#: Jobs released before others have their turn; the next ones follow at once.
RELEASES_PER_LOOK: Final = 1000


class RetryTimer:
    """When each of them is to enter its queue."""

    def __init__(self, agenda: Agenda, release: Callable[[Job], None]) -> None:
        self._agenda = agenda
        self._release = release
        self._heap: list[tuple[float, int, Job]] = []
        self._serial = count()
        self._dropped = 0
        self._next_look: float | None = None

    def add(self, job: Job, due: float) -> None:
        """Release the job at that time (monotonic seconds)."""
        heappush(self._heap, (due, next(self._serial), job))
        self._plan_look()

    def note_dropped(self) -> None:
        """One of the jobs in here will never run."""
        self._dropped += 1
        if self._dropped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].state is JobState.DELAYED]
            heapify(self._heap)
            self._dropped = 0

    def _plan_look(self) -> None:
        if self._heap and (self._next_look is None or self._heap[0][0] < self._next_look):
            self._next_look = self._heap[0][0]
            self._agenda.add(self._next_look, self._look)

    def _look(self, now: float) -> None:
        if self._next_look is None or now < self._next_look:
            return  # an earlier plan, which has been overtaken
        self._next_look = None
        for _ in range(RELEASES_PER_LOOK):
            if not self._heap or self._heap[0][0] > now:
                break
            job = heappop(self._heap)[2]
            if job.state is JobState.DELAYED:
                self._release(job)
            else:
                self._dropped -= 1
        self._plan_look()
