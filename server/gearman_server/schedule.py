"""Jobs that wait for their time, by the wall clock. Pure: both clocks are handed in.

The wall clock can be set while they wait. So its time is asked again whenever the first of them seems due, and at least
once a minute: a job starts when that clock says so, at most a minute late where it was set forward.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from gearman_server.job import Job, JobState

if TYPE_CHECKING:
    from gearman_server.agenda import Agenda

LONGEST_SLEEP_S: Final = 60.0
#: Looks closer together than this are one: jobs may be so much late.
RESOLUTION_S: Final = 0.01
#: Jobs released before others have their turn; the next ones follow at once.
RELEASES_PER_LOOK: Final = 1000


class Schedule:
    """When each waiting job is to enter its queue."""

    def __init__(self, agenda: Agenda, unix_time: Callable[[], float], release: Callable[[Job], None]) -> None:
        self._agenda = agenda
        self._unix_time = unix_time
        self._release = release
        self._heap: list[tuple[int, int, Job]] = []
        self._serial = count()
        self._dropped = 0
        self._next_look: float | None = None

    def is_future(self, run_at: int) -> bool:
        """Whether that time has yet to come."""
        return run_at > self._unix_time()

    def add(self, job: Job, run_at: int, now: float) -> None:
        """Release the job at `run_at` (Unix seconds); `now` is monotonic, as everywhere."""
        heappush(self._heap, (run_at, next(self._serial), job))
        self._plan_look(now)

    def note_dropped(self) -> None:
        """One of the jobs in here will never run."""
        self._dropped += 1
        if self._dropped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].state is JobState.DELAYED]
            heapify(self._heap)
            self._dropped = 0

    def _plan_look(self, now: float) -> None:
        if not self._heap:
            return
        remaining_s = max(0.0, self._heap[0][0] - self._unix_time())
        look = now + min(remaining_s, LONGEST_SLEEP_S)
        if self._next_look is None or look < self._next_look - RESOLUTION_S:
            self._next_look = look
            self._agenda.add(look, self._look)

    def _look(self, now: float) -> None:
        if self._next_look is None or now < self._next_look:
            return  # an earlier plan, which has been overtaken
        self._next_look = None
        unix_time = self._unix_time()
        for _ in range(RELEASES_PER_LOOK):
            if not self._heap or self._heap[0][0] > unix_time:
                break
            job = heappop(self._heap)[2]
            if job.state is JobState.DELAYED:
                self._release(job)
            else:
                self._dropped -= 1
        self._plan_look(now)
