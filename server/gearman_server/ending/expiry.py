"""Jobs that expire: one that has not begun by its time is not worth it any more, and fails in a way of its own. Pure.

An attempt that runs at that time goes on. Only if it fails, or its worker is lost, the job is not tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_server.jobs.batch_rows import Outcome
from gearman_server.jobs.delayed_jobs import ExpiryTimer
from gearman_server.jobs.endings import End, Sequel
from gearman_server.jobs.events import EventStream, JobExpired

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.dead_letters import DeadLetters
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife

#: The reason that clients and letters are given.
EXPIRED: Final = "expired: it was not begun in time"


class Expiry:
    """Ends jobs whose time is over."""

    def __init__(self, life: JobLife, dead_letters: DeadLetters, agenda: Agenda, events: EventStream) -> None:
        self._life = life
        self._dead_letters = dead_letters
        self._agenda = agenda
        self._events = events
        self._timer = ExpiryTimer(agenda, life.jobs, self._expire)

    def start(self, job: Job, expires_at: float, now: float) -> None:
        """From now on the job expires at that time (Unix seconds)."""
        self._timer.add(job, expires_at, now)

    def is_over(self, job: Job) -> bool:
        """Whether the job's time is over."""
        expires_at = job.rare.expires_at
        return expires_at is not None and expires_at <= self._agenda.unix_time()

    def end(self, job: Job) -> None:
        """End a job that no worker has and that is in no queue: its next attempt would begin too late."""
        self._leave_letter(job)
        self._life.finish(job, EXPIRED, _event(job), Outcome.EXPIRED)

    def _expire(self, job: Job) -> None:
        if job.is_waiting:
            self._leave_letter(job)
            self._life.drop_for(job, EXPIRED, _event(job), Outcome.EXPIRED)

    def _leave_letter(self, job: Job) -> None:
        options = job.rare.options
        leaves_one = options is not None and options.leaves_letter and job.is_background and job.is_wanted
        is_kept = leaves_one and self._dead_letters.bury(job, self._agenda.now, EXPIRED.encode())
        note = self._life.endings.note
        if note is not None:
            note(job, None, End.EXPIRED, Sequel.DEAD if is_kept else Sequel.NOTHING, EXPIRED.encode())


def _event(job: Job) -> JobExpired:
    return JobExpired(job.handle, job.function.name, job.priority)
