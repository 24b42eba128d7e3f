"""Jobs that wait for a time: submitted ones by the wall clock, failed ones by the monotonic clock. Pure.

The wall clock can be set while jobs wait. So it is read again when the first job seems due, and at least once a minute:
a job starts at its time by that clock, or at most a minute late if the clock was set forward. A back-off follows the
monotonic clock, to the millisecond: setting the wall clock neither shortens nor stretches it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.job import Job, JobState

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda

#: This many jobs are released in one call; the next ones follow at once, after other work.
RELEASES_AT_ONCE: Final = 1000
#: The wall clock is read at least this often.
LONGEST_SLEEP_S: Final = 60.0
#: Looks at the wall clock that are closer together than this become one: a job may be this late.
RESOLUTION_S: Final = 0.01


class EpochTimer:
    """Releases jobs that were submitted for a later time into their queues."""

    def __init__(self, agenda: Agenda, release: Callable[[Job], None]) -> None:
        self._unix_time = agenda.unix_time
        self._delayed = DelayHeap(release)
        self._alarm = agenda.alarm(self._look)
        self.note_dropped = self._delayed.note_dropped

    def is_future(self, run_at: int) -> bool:
        """Whether that time (Unix seconds) has yet to come."""
        return run_at > self._unix_time()

    def add(self, job: Job, run_at: int, now: float) -> None:
        """Release the job at `run_at` (Unix seconds); `now` is monotonic, as everywhere."""
        self._delayed.add(job, run_at)
        self._plan_look(now)

    def _plan_look(self, now: float) -> None:
        first_due = self._delayed.first_due
        if first_due is None:
            return
        look = now + min(max(0.0, first_due - self._unix_time()), LONGEST_SLEEP_S)
        if self._alarm.due is None or look < self._alarm.due - RESOLUTION_S:
            self._alarm.by(look)

    def _look(self, now: float) -> None:
        self._delayed.release_due(self._unix_time())
        self._plan_look(now)


class RetryTimer:
    """Releases failed jobs into their queues again, after their back-off."""

    def __init__(self, agenda: Agenda, release: Callable[[Job], None]) -> None:
        self._delayed = DelayHeap(release)
        self._alarm = agenda.alarm(self._look)
        self.note_dropped = self._delayed.note_dropped

    def add(self, job: Job, due: float) -> None:
        """Release the job at that time (monotonic seconds)."""
        self._delayed.add(job, due)
        self._plan_look()

    def _plan_look(self) -> None:
        if self._delayed.first_due is not None:
            self._alarm.by(self._delayed.first_due)

    def _look(self, now: float) -> None:
        self._delayed.release_due(now)
        self._plan_look()


class DelayHeap:
    """Delayed jobs, by the time at which they are due; jobs of the same time stay in the order in which they came.

    A dropped job stays in the heap until it is first, or until more than half of the heap are dropped jobs.
    """

    def __init__(self, release: Callable[[Job], None]) -> None:
        self._release = release
        self._heap: list[tuple[float, int, Job]] = []
        self._serial = count()
        self._dropped = 0

    @property
    def first_due(self) -> float | None:
        """When the first job is due; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, job: Job, due: float) -> None:
        """Release the job at that time."""
        heappush(self._heap, (due, next(self._serial), job))

    def note_dropped(self) -> None:
        """Note that one of the jobs in the heap will never run."""
        self._dropped += 1
        if self._dropped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].state is JobState.DELAYED]
            heapify(self._heap)
            self._dropped = 0

    def release_due(self, now: float) -> None:
        """Release the jobs that are due, at most `RELEASES_AT_ONCE` of them."""
        for _ in range(RELEASES_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                break
            job = heappop(self._heap)[2]
            if job.state is JobState.DELAYED:
                self._release(job)
            else:
                self._dropped -= 1
