"""Holds acknowledgements back until the store has committed their jobs, and acts on the store's verdicts. Pure.

The rules (group commit): a job is runnable at once; its JOB_CREATED waits for its insert, or leaves without it when the
job ends before; submissions that coalesce onto a job being inserted share its outcome. QUEUE_ERROR means that the job
has not run and never will. So a job is not given out while inserts are late or the store is in trouble; if the insert
of one that has run fails, or it is not known whether it failed, the insert is repeated and the answer waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.events import StoreFailed, StoreFenced, StoreLost, StoreRecovered
from gearman_server.jobs.job import WRITTEN, Job, JobRecord
from gearman_server.jobs.replies import JOB_CREATED_HEADERS, error, job_created
from gearman_server.jobs.store import InsertsLate, unique_key

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.batch_rows import FollowedEnd
    from gearman_server.jobs.job import Extras
    from gearman_server.jobs.session import Session, WithheldReply
    from gearman_server.jobs.store import ChangesWritten, Store

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
        self.cursor_changed: Callable[[Job], None] = partial(store.update, is_cursor_alone=True)
        self._touched = touched
        #: Whether a job's keys may turn out to be those of a job of another server when it is written.
        self.are_keys_shared = False
        #: Whether acknowledgements wait for anything.
        self.is_durable = store.is_durable
        #: Jobs that turn out to be known in the cluster, with the handles by which they are: while those are told who
        #: wait to hear whether they were stored.
        self.known_as: Mapping[Job, bytes] = {}
        # Callables that wait to be told whether a job was stored.
        self._told_later: dict[Job, list[Callable[[bool], None]]] = {}
        # By handle of a job: callables that wait for it to be written that the job is never run again.
        self._stops: dict[bytes, list[Callable[[], None]]] = {}
        # Answers that wait for all changes before them to be written, by the store's number for that.
        self._answers: dict[int, Callable[[], None]] = {}
        self._last_answer = 0
        #: Why the store can't be written now, in a sentence; None while it can.
        self.trouble: str | None = None
        self._are_late = False
        #: Whether what is written may be another server's at any moment.
        self._has_lapsed = False
        #: Whether new jobs are not given out before they are written.
        self.is_holding = False
        self._agenda = agenda
        # Jobs that follow from what has happened, and are not written yet: none of them is dropped.
        self._owed: set[Job] = set()
        # Jobs that may be stored or not, by the time until which their submitters wait to hear it.
        self._unknown: dict[Job, float] = {}
        self._patience_alarm = agenda.alarm(self._end_patience)
        # Replies about new workloads that are not written yet, with the time until which their submitters wait.
        self._rewrites: dict[Job, list[tuple[float, WithheldReply]]] = {}

    def note_health(self, news: StoreFailed | StoreRecovered | StoreLost | StoreFenced | InsertsLate) -> None:
        """Note news of the store's health. A lost store changes nothing here: the server ends."""
        if isinstance(news, StoreFailed):
            self.trouble = news.reason
            for number in list(self._answers):
                self._release_answer(number)
        elif isinstance(news, StoreRecovered):
            self.trouble = None
        elif isinstance(news, InsertsLate):
            self._are_late = news.are_late
        self._decide()

    @property
    def has_lapsed(self) -> bool:
        """Whether what is written may be another server's at any moment."""
        return self._has_lapsed

    @has_lapsed.setter
    def has_lapsed(self, has_lapsed: bool) -> None:
        self._has_lapsed = has_lapsed
        self._decide()

    def _decide(self) -> None:
        self.is_holding = self.trouble is not None or self._are_late or self._has_lapsed

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

    def rewrite(self, session: Session, job: Job) -> None:
        """Have the job's new workload written, and answer its submitter with JOB_CREATED then."""
        self._store.rewrite(job)
        deadline = self._agenda.now + UNKNOWN_PATIENCE_S
        self._rewrites.setdefault(job, []).append((deadline, session.withhold()))
        if self._patience_alarm.due is None:
            self._patience_alarm.by(deadline)

    def changes_written(self, changes: ChangesWritten) -> None:
        """Release the acknowledgements of changes that are committed."""
        for job in changes.rewrites:
            self._answer_rewrites(job, job_created(job.handle))
        for handle in changes.stops:
            for tell in self._stops.pop(handle, ()):
                tell()
        for number in changes.awaited:
            self._release_answer(number)

    def once_written(self, session: Session, answer: bytes) -> bytes:
        """The answer of a text command that ended jobs or forgot letters; empty if it follows once that is written.

        While the store is in trouble nobody waits: it takes effect now, and is written once that is possible.
        """
        if not self.is_durable or self.trouble is not None:
            return answer
        self.after_changes(partial(self.withhold(session), answer))
        return b""

    def after_changes(self, then: Callable[[], None]) -> None:
        """Call `then` once all changes so far are written, or the store is in trouble."""
        if self.trouble is not None:
            then()
            return
        self._last_answer += 1
        self._answers[self._last_answer] = then
        self._store.await_changes(self._last_answer)

    def _release_answer(self, number: int) -> None:
        then = self._answers.pop(number, None)
        if then is not None:  # else the store was in trouble meanwhile
            then()

    def _answer_rewrites(self, job: Job, packet: bytes) -> None:
        gaps = [gap for _, gap in self._rewrites.pop(job, ())]
        for gap in gaps:
            gap.packet = packet
        self._send({gap.session for gap in gaps})

    def owe(self, job: Job) -> None:
        """Have a job written that follows from what has happened: it is not given out before that, and it is tried
        until that is so."""
        if not self.is_durable or job.record is WRITTEN:
            return
        if job.record is None:
            job.record = JobRecord()
        self._owed.add(job)
        self._store.insert_owed(job)

    def is_owed(self, job: Job) -> bool:
        """Whether the job has to be written in any case, and is not."""
        return job in self._owed

    def must_hold(self, job: Job) -> bool:
        """Whether the job is not given out before it is written."""
        if self.is_holding or (self.is_durable and job in self._owed):
            return True
        return self.is_durable and job.extras is not None and self.is_written_first(job.extras)

    def is_written_first(self, extras: Extras) -> bool:
        """Whether a background job with these properties is never given out before it is written: something follows its
        end, or it may turn out to be a job of another server."""
        options = extras.options
        if options is not None and (options.is_followed or (self.are_keys_shared and options.unique_for_s)):
            return True
        return self.are_keys_shared and (extras.is_key_shared or bool(extras.submission))

    def share_key(self, job: Job) -> None:
        """Have the unique key of a background job hold for the whole cluster, if its function wants that."""
        options = job.rare.options
        has_longer_key = options is not None and options.unique_for_s  # it holds everywhere in any case
        if self.are_keys_shared and job.function.policy.is_unique_in_cluster and not has_longer_key:
            job.with_extras().is_key_shared = True

    def free_key(self, job: Job) -> None:
        """Free the unique key of a job in the cluster, unless its row is no longer ours: then its owner does."""
        if job.record is not None and job.rare.is_key_shared:
            job.with_extras().is_key_shared = False
            self._store.forget_keys([unique_key(job, 0.0)])

    def insert(self, job: Job, tell: Callable[[bool], None]) -> None:
        """Have a job written that no client submitted; `tell` is called as by `when_known`."""
        job.record = JobRecord()
        self._store.insert(job)
        self.when_known(job, tell)

    def when_known(self, job: Job, tell: Callable[[bool], None]) -> None:
        """Call `tell` once it is known whether the job was stored: with True also if the job ended before that."""
        self._told_later.setdefault(job, []).append(tell)

    def stop(self, job: Job, tell: Callable[[], None]) -> None:
        """Call `tell` once it is certain that the job is never run again, whatever becomes of the server.

        Call this before the job's end.
        """
        if job.record is None:
            tell()
            return
        self._stops.setdefault(job.handle, []).append(tell)
        self._store.stop(job)

    def inserts_written(self, jobs: Iterable[Job]) -> None:
        """Release the acknowledgements of committed inserts. A job that has ended meanwhile has no record any more."""
        sessions: set[Session | None] = set()
        unknown, owed, headers = self._unknown, self._owed, JOB_CREATED_HEADERS
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
                if owed:
                    owed.discard(job)
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
            self._end_waiting({gap.session for gap in gaps})
        for waits in self._rewrites.values():
            self._end_waiting({gap.session for deadline, gap in waits if deadline <= now})
            self._patience_alarm.by(max(waits[-1][0], now + UNKNOWN_PATIENCE_S / 2))

    def _end_waiting(self, sessions: Iterable[Session | None]) -> None:
        for session in sessions:
            if session is not None:
                session.end("the store does not say whether a job was stored")
                self._touched.add(session)

    def insert_failed(self, job: Job) -> None:
        """Answer the submitters of a job that is not stored, has not run, and never will."""
        record, job.record = job.record, None
        self._owed.discard(job)
        if record is not None:
            self._release(record, _NOT_STORED)
        if self._rewrites:
            self._answer_rewrites(job, _NOT_STORED)

    def answer_instead(self, job: Job, packet: bytes) -> None:
        """Answer the submitters of a job that is not stored by this packet, and forget it."""
        record, job.record = job.record, None
        if record is not None:
            self._release(record, packet)

    def withdraw(self, job: Job) -> None:
        """Forget a job that nobody submitted here, and that was not inserted because it is another server's."""
        job.record = None
        self._told_later.pop(job, None)
        self._unknown.pop(job, None)
        self._owed.discard(job)

    def tell_failed(self, job: Job) -> None:
        """Tell the callers of `when_known` that the insert failed, once the job itself is dealt with."""
        self._tell_later(job, is_stored=False)

    def job_ended(self, job: Job, followed: FollowedEnd | None = None) -> None:
        """Send JOB_CREATED to submitters that still wait for the insert, and have the row deleted, or never written."""
        record, job.record = job.record, None
        if record is not None:
            if record is not WRITTEN:
                self._release(record, job_created(job.handle))
            if followed is None:
                self._store.delete(job)
            else:
                self._store.delete_followed(job, followed)
            if self._rewrites:
                self._answer_rewrites(job, job_created(job.handle))
            if self._unknown:
                self._unknown.pop(job, None)
            if self._owed:
                self._owed.discard(job)
            if self._told_later:
                self._tell_later(job, is_stored=True)

    def answer(self, session: Session, job: Job, stored: Callable[[bytes], bytes], not_stored: bytes) -> bytes:
        """The answer of a text command that submitted the job: `stored` makes it of the handle, which may be that of a
        job in another server. Empty if it follows later."""
        if job.record is None or job.record is WRITTEN:
            return stored(job.handle)
        fill = self.withhold(session)

        def tell(is_stored: bool) -> None:
            handle = job.handle if is_stored else self.known_as.get(job)
            fill(not_stored if handle is None else stored(handle))

        self.when_known(job, tell)
        return b""

    def withhold(self, session: Session) -> Callable[[bytes], None]:
        """Leave a gap in the session's replies; the result fills it."""
        gap = session.withhold()

        def fill(reply: bytes) -> None:
            gap.packet = reply
            self._send({session})

        return fill

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
