"""Failed jobs that wait for their next attempt, by the monotonic clock, to the millisecond. Pure.

Beside `epoch_timer`, which goes by the wall clock: nobody who sets that may shorten or stretch a back-off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gearman_server.jobs.delayed_jobs import DelayHeap

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job


class RetryTimer:
    """When each of them is to enter its queue."""

    def __init__(self, agenda: Agenda, release: Callable[[Job], None]) -> None:
        self._agenda = agenda
        self._delayed = DelayHeap(release)
        self._next_look: float | None = None
        self.note_dropped = self._delayed.note_dropped

    def add(self, job: Job, due: float) -> None:
        """Release the job at that time (monotonic seconds)."""
        self._delayed.add(job, due)
        self._plan_look()

    def _plan_look(self) -> None:
        first_due = self._delayed.first_due
        if first_due is not None and (self._next_look is None or first_due < self._next_look):
            self._next_look = first_due
            self._agenda.add(first_due, self._look)

    def _look(self, now: float) -> None:
        if self._next_look is None or now < self._next_look:
            return  # an earlier plan, which has been overtaken
        self._next_look = None
        self._delayed.release_due(now)
        self._plan_look()
