"""Submits jobs by the clock: a schedule's job once for each due time, in spite of restarts and clock changes. Pure.

The mark of a run is written in the same transaction as its job, so a server that is killed has written both or neither.
If several servers have the same schedules, each tries every run, and the first to change the mark has it. Nobody has
the runs of one that is paused; a server that knows it as paused asks at each due time whether it still is.
Due times follow the wall clock, which can be set: it is read again at least once a minute. If it was set back, no run
is due a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.events import EventStream
from gearman_server.jobs.job import ENDED, WRITTEN
from gearman_server.jobs.schedule_rules import (
    ABSURD_S,
    Missed,
    ScheduleClockSet,
    ScheduleMark,
    SchedulePaused,
    ScheduleRan,
    ScheduleRefused,
    ScheduleResumed,
    ScheduleRule,
    ScheduleRun,
    ScheduleSkipped,
)

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.functions import UnreadRows
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.store import RunsSettled, Store
    from gearman_server.requests.scheduled_jobs import ScheduledJobs

#: Calls the callable once the marks are as other servers have left them.
Refresh = Callable[[Callable[[], None]], None]

LONGEST_SLEEP_S: Final = 60.0
#: While the store can't be written, or is still being read, runs wait, and are tried again at this interval.
PATIENCE_S: Final = 1.0
#: A run that is later than this was missed: no server was there to start it, or the clock jumped.
LATE_S: Final = 60.0
#: A run whose mark another server had in hand is tried again after this time, unless it has been run.
BUSY_S: Final = 0.25


class Scheduled:
    """A schedule and its progress."""

    __slots__ = ("mark", "next_due", "rule")

    def __init__(self, rule: ScheduleRule, mark: ScheduleMark) -> None:
        self.rule = rule
        self.mark = mark
        #: Unix seconds.
        self.next_due = rule.timing.next_after(mark.handled_until)


class Scheduler:
    """All schedules."""

    def __init__(
        self,
        jobs: ScheduledJobs,
        durability: Durability,
        unread: UnreadRows,
        store: Store,
        agenda: Agenda,
        events: EventStream,
    ) -> None:
        #: It tells whether a submitted job was stored.
        self.durability = durability
        self._unread = unread
        self._store = store
        self._agenda = agenda
        self._events = events
        self._jobs = jobs
        #: Set if other servers have the same schedules.
        self.refresh: Refresh | None = None
        self._is_unwritten: Callable[[str], bool] = lambda _name: False
        self._marks: dict[str, ScheduleMark] = {}
        self._scheduled: dict[str, Scheduled] = {}
        # Jobs whose insert is not written yet, each with the marks from before it, by the schedule's name.
        self._unwritten: dict[Job, dict[str, ScheduleMark]] = {}
        # Paused ones that are due: the other servers' changes are asked for, to see whether they are still paused.
        self._asked: set[str] = set()
        self._alarm = agenda.alarm(self._look)

    def __iter__(self) -> Iterator[Scheduled]:
        return iter(self._scheduled.values())

    def restore(self, marks: Mapping[str, ScheduleMark]) -> None:
        """Take over the marks of an earlier run; call this before `use`."""
        self._marks.update(marks)

    def use(self, rules: Iterable[ScheduleRule], now: float) -> None:
        """Replace the schedules. A new one, or one whose timing has changed, begins now."""
        unix_time = self._agenda.unix_time()
        earlier = {**self._marks, **{name: scheduled.mark for name, scheduled in self._scheduled.items()}}
        self._marks.clear()
        self._scheduled = {}
        for rule in rules:
            mark = earlier.pop(rule.name, None)
            if mark is None or mark.timing != str(rule.timing):
                fresh = ScheduleMark(str(rule.timing), unix_time)
                mark = fresh if mark is None else mark._replace(timing=fresh.timing, handled_until=unix_time)
                self._store.mark_schedule(rule.name, mark)
            self._scheduled[rule.name] = Scheduled(rule, mark)
        if earlier:
            self._store.forget_schedules(list(earlier))
        # Not at once: when the server starts, its store is opened after this.
        self._alarm.turn_off()
        self._alarm.by(now)

    def share(self, refresh: Refresh, is_unwritten: Callable[[str], bool]) -> None:
        """Other servers have the same schedules. `refresh` asks for a `take_over` of their marks; `is_unwritten` tells
        whether a schedule's pause, or its end, is still to be written."""
        self.refresh = refresh
        self._is_unwritten = is_unwritten

    def take_over(self, marks: Mapping[str, ScheduleMark]) -> None:
        """Note what other servers have done."""
        for name, found in marks.items():
            scheduled = self._scheduled.get(name)
            if scheduled is not None:
                mark = scheduled.mark
                last = max(found, mark, key=lambda each: each.last_run or 0.0)
                mark = mark._replace(last_run=last.last_run, last_handle=last.last_handle, paused_at=found.paused_at)
                self._note(scheduled, mark)
                if found.handled_until > mark.handled_until:
                    self._note(scheduled, scheduled.mark._replace(handled_until=found.handled_until))
                    self._alarm.by(self._agenda.now)

    def note_settled(self, settled: RunsSettled) -> None:
        """Give out the jobs of the runs that are ours, and forget those of the others."""
        for run in settled.won:
            if run.job is not None and self._jobs.is_prepared(run.job):
                self._jobs.enter(run.job)
                self._events.emit(ScheduleRan(run.name, run.job.function.name, run.job.handle))
        for run, found in settled.lost:
            if run.job is not None:
                self._unwritten.pop(run.job, None)
                self._jobs.withdraw(run.job)
            scheduled = self._scheduled.get(run.name)
            if scheduled is None:
                continue
            if found is None:
                self._set_back(scheduled, run.earlier)
                self._alarm.by(self._agenda.now + BUSY_S)
            else:
                self._note(scheduled, found._replace(timing=scheduled.mark.timing))
                self._alarm.by(self._agenda.now)

    def stop(self) -> None:
        """Submit no more jobs: the server is ending."""
        self._scheduled = {}

    def trigger(self, name: str) -> Job | None:
        """Submit a schedule's job now, at any time; None if there is no such schedule.

        Raises:
            RefusedError: the function's queue is full, or the store can't be used now.
        """
        scheduled = self._scheduled.get(name)
        if scheduled is None:
            return None
        if self._has_to_wait():
            raise RefusedError(b"QUEUE_ERROR", b"The store can't be used now, try again later")
        return self._run(scheduled, scheduled.mark._replace(last_run=self._agenda.unix_time()), None)

    def pause(self, identity: Identity, name: str) -> bool:
        """Have no run of a schedule due from now on. False: there is no such schedule."""
        scheduled = self._scheduled.get(name)
        if scheduled is None:
            return False
        is_paused = scheduled.mark.paused_at is not None
        if not is_paused or self.refresh is not None:  # another server may have ended the pause
            since = scheduled.mark.paused_at or self._agenda.unix_time()
            self._set_pause(scheduled, scheduled.mark._replace(paused_at=since), identity)
        if not is_paused and self.refresh is None:
            self.note_written(name, identity, is_end=False)
        return True

    def resume(self, identity: Identity, name: str) -> bool:
        """Have a schedule's runs due again, from now on. False: there is no such schedule."""
        scheduled = self._scheduled.get(name)
        if scheduled is None:
            return False
        is_paused = scheduled.mark.paused_at is not None
        if is_paused or self.refresh is not None:  # another server may have paused it
            unix_time = self._agenda.unix_time()
            handled = max(scheduled.mark.handled_until, unix_time) if is_paused else scheduled.mark.handled_until
            self._set_pause(scheduled, scheduled.mark._replace(paused_at=None, handled_until=handled), identity)
            self._alarm.by(self._agenda.now)
        if is_paused and self.refresh is None:
            self.note_written(name, identity, is_end=True)
        return True

    def note_written(self, name: str, identity: Identity, *, is_end: bool) -> None:
        """A pause that somebody asked for, or its end, is one, and was none before. Where there are other servers only
        the store knows that."""
        self._events.emit((ScheduleResumed if is_end else SchedulePaused)(identity, name))

    def when_written(self, name: str, then: Callable[[bool], None]) -> None:
        """Call `then` once it is known whether this schedule's pause, or its end, is written. False: it is not, and is
        tried until it succeeds."""

        def tell() -> None:
            then(self.durability.trouble is None and not self._is_unwritten(name))

        if self.refresh is not None:
            self.refresh(tell)
        else:
            self.durability.after_changes(tell)

    def _set_pause(self, scheduled: Scheduled, mark: ScheduleMark, identity: Identity) -> None:
        self._note(scheduled, mark)
        self._store.pause_schedule(scheduled.rule.name, mark, identity)

    def _note_unwritten(self, job: Job, name: str, earlier: ScheduleMark) -> None:
        """Remember the earlier mark until the job's insert, and the new mark beside it, are written."""
        if job not in self._unwritten:
            self._unwritten[job] = {}
            self.durability.when_known(job, partial(self._note_outcome, job))
        self._unwritten[job].setdefault(name, earlier)

    def _note_outcome(self, job: Job, is_stored: bool) -> None:
        """If the job could not be stored and was dropped, its run is still due. A job that runs already goes on. If
        another server has a job with the key, the run has joined that one."""
        marks = self._unwritten.pop(job)
        if is_stored or job.state is not ENDED or job in self.durability.known_as:
            return
        self._jobs.forget(job)
        for name, mark in marks.items():
            if name in self._scheduled:
                self._set_back(self._scheduled[name], mark)
                self._alarm.by(self._agenda.now + PATIENCE_S)

    def _set_back(self, scheduled: Scheduled, mark: ScheduleMark) -> None:
        """Go back to an earlier mark, and let later runs that are not stored either go back as far. A pause since then
        stays."""
        mark = mark._replace(paused_at=scheduled.mark.paused_at)
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
        unix_time = self._agenda.unix_time()
        for scheduled in self._scheduled.values():
            if scheduled.mark.handled_until > unix_time + ABSURD_S:
                self._events.emit(ScheduleClockSet(scheduled.rule.name, scheduled.mark.handled_until))
                self._set(scheduled, scheduled.mark._replace(handled_until=unix_time))
            if scheduled.next_due <= unix_time:
                if scheduled.mark.paused_at is None:
                    self._run_due(scheduled, unix_time)
                else:
                    self._pass_over(scheduled, unix_time)
        dues = (each.next_due for name, each in self._scheduled.items() if name not in self._asked)
        first_due = min(dues, default=unix_time + LONGEST_SLEEP_S)
        self._alarm.by(now + min(max(first_due - self._agenda.unix_time(), 0.0), LONGEST_SLEEP_S))

    def _has_to_wait(self) -> bool:
        """Whether unique keys are still unknown, or jobs can't be stored."""
        return self._unread.is_reading or self.durability.trouble is not None

    def _pass_over(self, scheduled: Scheduled, unix_time: float) -> None:
        """It is paused, for all we know."""
        name = scheduled.rule.name
        if self.refresh is None:
            self._note(scheduled, scheduled.mark._replace(handled_until=unix_time))
        elif name not in self._asked:
            self._asked.add(name)
            self.refresh(partial(self._pass_over_if_paused, name, unix_time))

    def _pass_over_if_paused(self, name: str, unix_time: float) -> None:
        self._asked.discard(name)
        scheduled = self._scheduled.get(name)
        if scheduled is not None and scheduled.mark.paused_at is not None:
            self._note(scheduled, scheduled.mark._replace(handled_until=unix_time))
        self._alarm.by(self._agenda.now)

    def _run_due(self, scheduled: Scheduled, unix_time: float) -> None:
        rule = scheduled.rule
        mark = scheduled.mark._replace(handled_until=unix_time)
        # However late the first of several due times is, the last one may have come just now.
        is_missed = rule.timing.next_after(unix_time - LATE_S) > unix_time
        if is_missed and rule.missed is Missed.SKIP:
            self._events.emit(ScheduleSkipped(rule.name, rule.function, scheduled.next_due))
            self._note_run(scheduled, scheduled.next_due, mark)
            return
        try:
            self._run(scheduled, mark._replace(last_run=unix_time), scheduled.next_due)
        except RefusedError as error:
            self._events.emit(ScheduleRefused(rule.name, rule.function, error.text))
            self._note_run(scheduled, scheduled.next_due, mark)

    def _run(self, scheduled: Scheduled, mark: ScheduleMark, due: float | None) -> Job:
        """Submit the job and note the run; if it raises RefusedError, nothing has changed."""
        rule, earlier = scheduled.rule, scheduled.mark
        submit = self._jobs.submit if self.refresh is None or due is None else self._jobs.prepare
        job = submit(rule, self._agenda.now)
        is_unwritten = job.record is not None and job.record is not WRITTEN
        is_prepared = self._jobs.is_prepared(job)
        mark = mark._replace(last_handle=job.handle)
        is_its_own = is_prepared or (due is None and is_unwritten)
        self._note_run(scheduled, due, mark, job if is_its_own else None)
        if is_unwritten:
            self._note_unwritten(job, rule.name, earlier)
        if not is_prepared:  # else it may be another server's
            self._events.emit(ScheduleRan(rule.name, rule.function, job.handle))
        return job

    def _note_run(self, scheduled: Scheduled, due: float | None, mark: ScheduleMark, job: Job | None = None) -> None:
        run = ScheduleRun(scheduled.rule.name, due, mark, job, scheduled.mark)
        self._note(scheduled, mark)
        self._store.note_run(run)

    def _set(self, scheduled: Scheduled, mark: ScheduleMark) -> None:
        self._note(scheduled, mark)
        self._store.mark_schedule(scheduled.rule.name, mark)

    def _note(self, scheduled: Scheduled, mark: ScheduleMark) -> None:
        scheduled.mark = mark
        scheduled.next_due = scheduled.rule.timing.next_after(mark.handled_until)
