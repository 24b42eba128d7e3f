"""Submits jobs by the clock: each schedule's once for each due time, whatever restarts and clocks do. Pure.

The mark of a run is written in the same transaction as its job. So a server that is killed has done both or neither.
Due times go by the wall clock, which can be set: its time is asked again at least once a minute. Where it was set back
nothing is due a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.durability import WRITTEN
from gearman_server.jobs.events import ScheduleClockSet, ScheduleRan, ScheduleRefused, ScheduleSkipped
from gearman_server.jobs.schedule_rules import Missed, ScheduleMark, ScheduleRule

if TYPE_CHECKING:
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import Store

LONGEST_SLEEP_S: Final = 60.0
#: While the store can't be written, or is still being read, runs wait; how often it is looked whether they can begin.
PATIENCE_S: Final = 1.0
#: A run that is later than this was missed: nobody was there to start it, or the clock jumped.
LATE_S: Final = 60.0
#: Marks that are this far in the future were made by a clock that was wrong.
ABSURD_S: Final = 86_400.0

#: Submits a background job that no client asked for.
Submit = Callable[[ScheduleRule], "Job"]


class Scheduled:
    """A schedule and how far it has come."""

    __slots__ = ("mark", "next_due", "rule")

    def __init__(self, rule: ScheduleRule, mark: ScheduleMark) -> None:
        self.rule = rule
        self.mark = mark
        #: Unix seconds.
        self.next_due = rule.timing.next_after(mark.handled_until)


class Scheduler:
    """All schedules."""

    def __init__(self, table: JobTable, store: Store, submit: Submit) -> None:
        self._table = table
        self._store = store
        self._submit = submit
        self._marks: dict[str, ScheduleMark] = {}
        self._scheduled: dict[str, Scheduled] = {}
        # Jobs whose insert is not written yet, with the marks, by the schedule's name, from before them.
        self._unwritten: dict[Job, dict[str, ScheduleMark]] = {}
        self._alarm = table.agenda.alarm(self._look)

    def __iter__(self) -> Iterator[Scheduled]:
        return iter(self._scheduled.values())

    @property
    def durability(self) -> Durability:
        """What knows whether a job that was submitted is stored."""
        return self._table.durability

    def restore(self, marks: Mapping[str, ScheduleMark]) -> None:
        """What an earlier run has stored; to be called before `use`."""
        self._marks.update(marks)

    def use(self, rules: Iterable[ScheduleRule], now: float) -> None:
        """From now on these are the schedules. A new one, or one with another timing, begins now."""
        unix_time = self._table.unix_time()
        earlier = {**self._marks, **{name: scheduled.mark for name, scheduled in self._scheduled.items()}}
        self._marks.clear()
        self._scheduled = {}
        for rule in rules:
            mark = earlier.pop(rule.name, None)
            if mark is None or mark.timing != str(rule.timing):
                mark = ScheduleMark(str(rule.timing), unix_time, mark.last_run if mark is not None else None)
                self._store.mark_schedule(rule.name, mark)
            self._scheduled[rule.name] = Scheduled(rule, mark)
        if earlier:
            self._store.forget_schedules(list(earlier))
        # Not at once: at the start of a server its store is opened behind this.
        self._alarm.turn_off()
        self._alarm.by(now)

    def stop(self) -> None:
        """The server is ending: nothing is submitted any more."""
        self._scheduled = {}

    def trigger(self, name: str) -> Job | None:
        """Submit a schedule's job now, whatever the time; None if there is no such schedule.

        Raises:
            RefusedError: the function's queue is full, or the store can't be used now.
        """
        scheduled = self._scheduled.get(name)
        if scheduled is None:
            return None
        if self._has_to_wait():
            raise RefusedError(b"QUEUE_ERROR", b"The store can't be used now, try again later")
        return self._run(scheduled, scheduled.mark._replace(last_run=self._table.unix_time()))

    def inserts_written(self) -> None:
        """Inserts were committed, and the marks beside them."""
        for job in [job for job in self._unwritten if job.record is None or job.record is WRITTEN]:
            del self._unwritten[job]

    def inserts_failing(self, jobs: Iterable[Job]) -> None:
        """These jobs can't be stored, and are about to be dropped: what was due is due still. Those that run go on."""
        for job in jobs:
            is_dropped = job.record is not None and job.is_waiting and not job.listeners
            for name, mark in self._unwritten.pop(job, {}).items():
                if is_dropped and name in self._scheduled:
                    self._set_back(self._scheduled[name], mark)
                    self._alarm.by(self._table.now + PATIENCE_S)

    def _set_back(self, scheduled: Scheduled, mark: ScheduleMark) -> None:
        """If a later run can't be stored either, it goes back as far."""
        self._set(scheduled, mark)
        for earlier in self._unwritten.values():
            if scheduled.rule.name in earlier:
                earlier[scheduled.rule.name] = mark

    # --- the clock

    def _look(self, now: float) -> None:
        if not self._scheduled:
            return
        if self._has_to_wait():
            self._alarm.by(now + PATIENCE_S)
            return
        unix_time = self._table.unix_time()
        for scheduled in self._scheduled.values():
            if scheduled.mark.handled_until > unix_time + ABSURD_S:
                self._table.events.emit(ScheduleClockSet(scheduled.rule.name, scheduled.mark.handled_until))
                self._set(scheduled, scheduled.mark._replace(handled_until=unix_time))
            if scheduled.next_due <= unix_time:
                self._run_due(scheduled, unix_time)
        first_due = min(scheduled.next_due for scheduled in self._scheduled.values())
        self._alarm.by(now + min(max(first_due - self._table.unix_time(), 0.0), LONGEST_SLEEP_S))

    def _has_to_wait(self) -> bool:
        """Unique keys are still unknown, or nothing can be stored."""
        return self._table.replay is not None or self._table.durability.trouble is not None

    def _run_due(self, scheduled: Scheduled, unix_time: float) -> None:
        rule = scheduled.rule
        mark = scheduled.mark._replace(handled_until=unix_time)
        # The last of several due times may have come just now, however late the first one is.
        is_missed = rule.timing.next_after(unix_time - LATE_S) > unix_time
        if is_missed and rule.missed is Missed.SKIP:
            self._table.events.emit(ScheduleSkipped(rule.name, rule.function, scheduled.next_due))
            self._set(scheduled, mark)
            return
        try:
            self._run(scheduled, mark._replace(last_run=unix_time))
        except RefusedError as error:
            self._table.events.emit(ScheduleRefused(rule.name, rule.function, error.text))
            self._set(scheduled, mark)

    def _run(self, scheduled: Scheduled, mark: ScheduleMark) -> Job:
        """Raises RefusedError: nothing has changed then."""
        rule, earlier = scheduled.rule, scheduled.mark
        job = self._submit(rule)
        self._set(scheduled, mark)
        if job.record is not None and job.record is not WRITTEN:
            self._unwritten.setdefault(job, {}).setdefault(rule.name, earlier)
        self._table.events.emit(ScheduleRan(rule.name, rule.function, job.handle))
        return job

    def _set(self, scheduled: Scheduled, mark: ScheduleMark) -> None:
        scheduled.mark = mark
        scheduled.next_due = scheduled.rule.timing.next_after(mark.handled_until)
        self._store.mark_schedule(scheduled.rule.name, mark)
