"""Jobs that wait for a time: submitted ones by the wall clock, failed ones by the monotonic clock. Pure.

The wall clock can be set while jobs wait. So it is read again when the first job seems due, and at least once a minute:
a job starts (or expires) at its time by that clock, or at most a minute late if the clock was set forward. A back-off
follows the monotonic clock, to the millisecond: setting the wall clock neither shortens nor stretches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.job import Job, JobState
from gearman_server.jobs.timeouts import HandleHeap

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda

#: This many jobs are released in one call; the next ones follow at once, after other work.
RELEASES_AT_ONCE: Final = 1000
#: The wall clock is read at least this often.
LONGEST_SLEEP_S: Final = 60.0
#: Looks at the wall clock that are closer together than this become one: a job may be this late.
RESOLUTION_S: Final = 0.0005


class WallAlarm:
    """Looks at the wall clock when something seems due by it, and at least once a minute while anything is to come."""

    def __init__(self, agenda: Agenda, act: Callable[[float], float | None]) -> None:
        """`act` does what is due at a time (Unix seconds), and returns when the next is; None: nothing is to come."""
        self._unix_time = agenda.unix_time
        self._act = act
        self._alarm = agenda.alarm(self._look)

    def by(self, first_due: float, now: float) -> None:
        """Look at that time (Unix seconds), if no earlier look is planned; `now` is monotonic, as everywhere."""
        look = now + min(max(0.0, first_due - self._unix_time()), LONGEST_SLEEP_S)
        if self._alarm.due is None or look < self._alarm.due - RESOLUTION_S:
            self._alarm.by(look)

    def _look(self, now: float) -> None:
        first_due = self._act(self._unix_time())
        if first_due is not None:
            self.by(first_due, now)


class EpochTimer:
    """Releases jobs that were submitted for a later time into their queues."""

    def __init__(self, agenda: Agenda, release: Callable[[Job], None]) -> None:
        self._unix_time = agenda.unix_time
        self._delayed = DelayHeap(release, _is_due_then)
        self._alarm = WallAlarm(agenda, self._release_due)
        self.note_dropped = self._delayed.note_dropped

    def is_future(self, run_at: float) -> bool:
        """Whether that time (Unix seconds) has yet to come."""
        return run_at > self._unix_time()

    def add(self, job: Job, run_at: float, now: float) -> None:
        """Release the job at `run_at` (Unix seconds); `now` is monotonic, as everywhere."""
        self._delayed.add(job, run_at)
        self._alarm.by(run_at, now)

    def _release_due(self, unix_now: float) -> float | None:
        self._delayed.release_due(unix_now)
        return self._delayed.first_due


class ExpiryTimer:
    """Ends jobs that have not begun by the time after which they are not worth it."""

    def __init__(self, agenda: Agenda, jobs: Mapping[bytes, Job], expire: Callable[[Job], None]) -> None:
        """`jobs` are all jobs by handle; `expire` ends one of them, if it waits."""
        self._jobs = jobs
        self._expire = expire
        self._expiring = HandleHeap(self._live)
        self._alarm = WallAlarm(agenda, self._expire_due)

    def add(self, job: Job, expires_at: float, now: float) -> None:
        """End the job at that time (Unix seconds)."""
        job.with_extras().expires_at = expires_at
        self._expiring.add(expires_at, job.handle)
        self._alarm.by(expires_at, now)

    def _expire_due(self, unix_now: float) -> float | None:
        for job, _ in self._expiring.take_due(unix_now, RELEASES_AT_ONCE):
            self._expire(job)
        return self._expiring.first_due

    def _live(self, handle: bytes, expires_at: float) -> Job | None:
        job = self._jobs.get(handle)
        return job if job is not None and job.rare.expires_at == expires_at else None


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


def _is_due_then(job: Job, due: float) -> bool:
    """Whether a job waits for this time. It may have been given another one."""
    is_retry = job.history is not None and job.history.not_before is not None
    return job.state is JobState.DELAYED and job.rare.run_at == due and not is_retry


def _is_delayed(job: Job, _due: float) -> bool:
    return job.state is JobState.DELAYED


class DelayHeap:
    """Delayed jobs, by the time at which they are due; jobs of the same time stay in the order in which they came.

    A dropped job stays in the heap until it is first, or until more than half of the heap are dropped jobs.
    """

    def __init__(self, release: Callable[[Job], None], is_live: Callable[[Job, float], bool] = _is_delayed) -> None:
        """`is_live` says whether a job still waits for this time."""
        self._release = release
        self._is_live = is_live
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
            self._heap = [entry for entry in self._heap if self._is_live(entry[2], entry[0])]
            heapify(self._heap)
            self._dropped = 0

    def release_due(self, now: float) -> None:
        """Release the jobs that are due, at most `RELEASES_AT_ONCE` of them."""
        for _ in range(RELEASES_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                break
            due, _, job = heappop(self._heap)
            if self._is_live(job, due):
                self._release(job)
            else:
                self._dropped -= 1
