"""Holds acknowledgements back until the store has committed their jobs, and acts on the store's verdicts. Pure.

The rules (group commit): a job is runnable at once; its JOB_CREATED waits for its insert, or leaves without it when the
job ends before; submissions that coalesce onto a job being inserted share its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import StoreFailed, StoreLost, StoreRecovered
from gearman_server.jobs.job import WRITTEN, Job, JobRecord
from gearman_server.jobs.replies import error, job_created

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import Store

_NOT_STORED: Final = error(b"QUEUE_ERROR", b"The job could not be stored")


class Durability:
    """Acknowledges background submissions when the store allows it."""

    def __init__(self, store: Store, touched: set[Session]) -> None:
        """Sessions for which packets are left are added to `touched`."""
        self._store = store
        self._insert = store.insert
        self._touched = touched
        #: Whether acknowledgements wait for anything.
        self.is_durable = store.is_durable
        # Callables that wait to be told whether a job was stored.
        self._told_later: dict[Job, list[Callable[[bool], None]]] = {}
        #: Why the store can't be written now, in a sentence; None while it can.
        self.trouble: str | None = None

    def note_health(self, news: StoreFailed | StoreRecovered | StoreLost) -> None:
        """Note news of the store's health. A lost store changes nothing here: the server ends."""
        if isinstance(news, StoreFailed):
            self.trouble = news.reason
        elif isinstance(news, StoreRecovered):
            self.trouble = None

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
        for job in jobs:
            record = job.record
            if record is not None:
                job.record = WRITTEN
                record.packet = job_created(job.handle)
                sessions.add(record.session)
                for gap in record.others or ():
                    gap.packet = record.packet
                    sessions.add(gap.session)
        for job in [job for job in self._told_later if job.record is WRITTEN]:
            self._tell_later(job, is_stored=True)
        self._send(sessions)

    def insert_failed(self, job: Job) -> bool:
        """Answer the submitters of an insert that will not be committed. False: the job has ended meanwhile."""
        record, job.record = job.record, None
        if record is None:
            return False
        self._release(record, _NOT_STORED)
        return True

    def tell_failed(self, job: Job) -> None:
        """Tell the callers of `when_known` that the insert failed, once the job itself is dealt with."""
        self._tell_later(job, is_stored=False)

    def job_changed(self, job: Job) -> None:
        """A job was given to a worker, or an attempt failed: the store writes that some time later; nobody waits."""
        self._store.update(job)

    def job_ended(self, job: Job) -> None:
        """Send JOB_CREATED to submitters that still wait for the insert, and have the row deleted, or never written."""
        record, job.record = job.record, None
        if record is not None:
            if record is not WRITTEN:
                self._release(record, job_created(job.handle))
            self._store.delete(job)
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
