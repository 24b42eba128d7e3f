"""Holds acknowledgements back until the store has committed their jobs, and acts on the store's verdicts. Pure.

The rules (group commit): a job is runnable at once; its JOB_CREATED waits for its insert, or leaves without it when the
job ends before; submissions that coalesce onto a job being inserted share its outcome. QUEUE_ERROR means that the job
has not run and never will. So a job is not given out while inserts are late or the store is in trouble; if the insert
of one that has run fails, or it is not known whether it failed, the insert is repeated and the answer waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import StoreFailed, StoreLost, StoreRecovered
from gearman_server.jobs.job import WRITTEN, Job, JobRecord
from gearman_server.jobs.replies import JOB_CREATED_HEADERS, error, job_created
from gearman_server.jobs.store import InsertsLate

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import Store

#: A submitter waits at most this long to hear of a job that may be stored or not; then its connection is closed.
UNKNOWN_PATIENCE_S: Final = 60.0

_NOT_STORED: Final = error(b"QUEUE_ERROR", b"The job could not be stored")


class Durability:
    """Acknowledges background submissions when the store allows it."""

    def __init__(self, store: Store, touched: set[Session], agenda: Agenda) -> None:
        """Sessions for which packets are left are added to `touched`."""
        self._store = store
        self._insert = store.insert
        #: Called when a job was given to a worker, or an attempt failed: that is written some time later; nobody waits.
        self.job_changed: Callable[[Job], None] = store.update
        self._touched = touched
        #: Whether acknowledgements wait for anything.
        self.is_durable = store.is_durable
        # Callables that wait to be told whether a job was stored.
        self._told_later: dict[Job, list[Callable[[bool], None]]] = {}
        #: Why the store can't be written now, in a sentence; None while it can.
        self.trouble: str | None = None
        self._are_late = False
        #: Whether new jobs are not given out before they are written.
        self.is_holding = False
        self._agenda = agenda
        # Jobs that may be stored or not, by the time until which their submitters wait to hear it.
        self._unknown: dict[Job, float] = {}
        self._patience_alarm = agenda.alarm(self._end_patience)

    def note_health(self, news: StoreFailed | StoreRecovered | StoreLost | InsertsLate) -> None:
        """Note news of the store's health. A lost store changes nothing here: the server ends."""
        if isinstance(news, StoreFailed):
            self.trouble = news.reason
        elif isinstance(news, StoreRecovered):
            self.trouble = None
        elif isinstance(news, InsertsLate):
            self._are_late = news.are_late
        self.is_holding = self.trouble is not None or self._are_late

    def acknowledge(self, session: Session | None, job: Job) -> None:
        """Answer a background submission with JOB_CREATED, as soon as the job's row is committed.

        A job that a schedule submitted has no session, and nobody gets an answer.
        """
        record = job.record
        if record is None:
            record = job.record = JobRecord(session)
            self._insert(job)
            if session is not None:
                session.leave_gap(record)
        elif session is not None:
            if record is WRITTEN:
                session.reply(job_created(job.handle))
            elif record.others is None:
                record.others = [session.withhold()]
            else:
                record.others.append(session.withhold())

    def insert(self, job: Job, tell: Callable[[bool], None]) -> None:
        """Have a job written that no client submitted; `tell` is called as by `when_known`."""
        job.record = JobRecord()
        self._store.insert(job)
        self.when_known(job, tell)

    def when_known(self, job: Job, tell: Callable[[bool], None]) -> None:
        """Call `tell` once it is known whether the job was stored: with True also if the job ended before that."""
        self._told_later.setdefault(job, []).append(tell)

    def inserts_written(self, jobs: Iterable[Job]) -> None:
        """Release the acknowledgements of committed inserts. A job that has ended meanwhile has no record any more."""
        sessions: set[Session | None] = set()
        unknown, headers = self._unknown, JOB_CREATED_HEADERS
        for job in jobs:
            record = job.record
            if record is not None and record is not WRITTEN:
                job.record = WRITTEN
                handle = job.handle
                record.packet = headers[len(handle)] + handle  # `job_created` without the call
                sessions.add(record.session)
                if record.others is not None:
                    for gap in record.others:
                        gap.packet = record.packet
                        sessions.add(gap.session)
                if unknown:
                    unknown.pop(job, None)
        for job in [job for job in self._told_later if job.record is WRITTEN]:
            self._tell_later(job, is_stored=True)
        self._send(sessions)

    def is_unknown(self, job: Job) -> bool:
        """Whether the job may be stored or not."""
        return job in self._unknown

    def insert_again(self, job: Job, *, is_unknown: bool) -> None:
        """Repeat an insert that failed, once the store works: the submitters wait for that, or for the job's end."""
        self._store.insert_again(job)
        if is_unknown and job not in self._unknown:
            self._unknown[job] = self._agenda.now + UNKNOWN_PATIENCE_S
            if self._patience_alarm.due is None:
                self._patience_alarm.by(self._unknown[job])

    def _end_patience(self, now: float) -> None:
        """Close the connections of submitters that have waited long enough to hear whether their job is stored."""
        for job, deadline in self._unknown.items():
            if deadline > now:
                self._patience_alarm.by(deadline)
                break
            record = job.record
            gaps = () if record is None else (record, *(record.others or ()))
            for session in {gap.session for gap in gaps if gap.session is not None}:
                session.end("the store does not say whether a job was stored")
                self._touched.add(session)

    def insert_failed(self, job: Job) -> None:
        """Answer the submitters of a job that is not stored, has not run, and never will."""
        record, job.record = job.record, None
        if record is not None:
            self._release(record, _NOT_STORED)

    def tell_failed(self, job: Job) -> None:
        """Tell the callers of `when_known` that the insert failed, once the job itself is dealt with."""
        self._tell_later(job, is_stored=False)

    def job_ended(self, job: Job) -> None:
        """Send JOB_CREATED to submitters that still wait for the insert, and have the row deleted, or never written."""
        record, job.record = job.record, None
        if record is not None:
            if record is not WRITTEN:
                self._release(record, job_created(job.handle))
            self._store.delete(job)
            if self._unknown:
                self._unknown.pop(job, None)
            if self._told_later:
                self._tell_later(job, is_stored=True)

    def answer(self, session: Session, job: Job, stored: bytes, not_stored: bytes) -> bytes:
        """The answer of a text command that submitted the job: one of the two; empty if it follows later."""
        if job.record is None or job.record is WRITTEN:
            return stored
        gap = session.withhold()

        def fill(is_stored: bool) -> None:
            gap.packet = stored if is_stored else not_stored
            self._send({session})

        self.when_known(job, fill)
        return b""

    def _tell_later(self, job: Job, *, is_stored: bool) -> None:
        for tell in self._told_later.pop(job, ()):
            tell(is_stored)

    def _release(self, record: JobRecord, packet: bytes) -> None:
        replies = (record, *(record.others or ()))
        for gap in replies:
            gap.packet = packet
        self._send({gap.session for gap in replies})

    def _send(self, sessions: Iterable[Session | None]) -> None:
        for session in sessions:
            if session is not None:
                session.send_released()
                self._touched.add(session)
