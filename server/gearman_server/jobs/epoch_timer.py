"""Jobs that were submitted for a later time, by the wall clock. Pure: both clocks are handed in.

The wall clock can be set while they wait. So its time is asked again whenever the first of them seems due, and at least
once a minute: a job starts when that clock says so, at most a minute late where it was set forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.delayed_jobs import DelayHeap

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job

LONGEST_SLEEP_S: Final = 60.0
#: Looks closer together than this are one: jobs may be so much late.
RESOLUTION_S: Final = 0.01


class EpochTimer:
    """When each of them is to enter its queue."""

    def __init__(self, agenda: Agenda, unix_time: Callable[[], float], release: Callable[[Job], None]) -> None:
        self._agenda = agenda
        self._unix_time = unix_time
        self._delayed = DelayHeap(release)
        self._next_look: float | None = None
        self.note_dropped = self._delayed.note_dropped

    def is_future(self, run_at: int) -> bool:
        """Whether that time has yet to come."""
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
        if self._next_look is None or look < self._next_look - RESOLUTION_S:
            self._next_look = look
            self._agenda.add(look, self._look)

    def _look(self, now: float) -> None:
        if self._next_look is None or now < self._next_look:
            return  # an earlier plan, which has been overtaken
        self._next_look = None
        self._delayed.release_due(self._unix_time())
        self._plan_look(now)
