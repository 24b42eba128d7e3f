"""The extension `orphaned-jobs`: workers go on with the jobs of a server that is gone. Pure.

A job that comes from the rows of a server that is gone, be it a former run of this one, may be one that a worker has.
So it is in doubt for a while: it waits for the word of that worker, or of its supervisor. Then the worker's connection
to this server has it, as if it had been assigned here, or, while there is none, its supervisor's. A word that comes
before the job is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    CHECKPOINT,
    ORPHAN_GONE,
    ORPHAN_GONE_ARGUMENTS,
    ORPHAN_RUNS,
    ORPHAN_RUNS_ARGUMENTS,
    ORPHAN_WORK,
    ORPHAN_WORK_ARGUMENTS,
    ORPHANED_JOBS_OPTION,
    STORE_ID,
    WORK_FAILURE,
)
from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser, PacketType, encode_response
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.access import is_same_origin
from gearman_server.jobs.events import JobGoesOn
from gearman_server.jobs.function import take_out
from gearman_server.jobs.job import HELD, QUEUED, JobHistory
from gearman_server.jobs.session import Session
from gearman_server.orphans.words import Word, Words

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.functions import UnreadRows
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife

#: A job that its dead server may have given out waits for its worker's word for so long (seconds).
WORD_S: Final = 1.5
#: An answer waits for its job for so long (seconds); in a cluster for a lease more.
ANSWER_S: Final = 5.0
#: Of so many jobs that go on here it is known which workers have them.
_MAX_CLAIMED: Final = 100_000
#: A word that comes late counts if its job is one of the last so many, and no worker has got it yet.
_MAX_LATE: Final = 10_000

_ENDINGS: Final = frozenset(
    (int(PacketType.WORK_COMPLETE), int(PacketType.WORK_FAIL), int(PacketType.WORK_EXCEPTION), WORK_FAILURE)
)
_REPORTS: Final = frozenset(
    (int(PacketType.WORK_STATUS), int(PacketType.WORK_DATA), int(PacketType.WORK_WARNING), CHECKPOINT)
)
#: Carries out one kind of packet.
Handler = Callable[[Session, bytes, float], object]


class Orphans:
    """Finds the workers of jobs that have lost their server."""

    def __init__(
        self,
        life: JobLife,
        attempts: Attempts,
        start_timeout: Callable[[Session, Job, float], None],
        work_handlers: dict[int, Handler],
        unread: UnreadRows,
        store_id: bytes,
    ) -> None:
        """`work_handlers` carry out the packets of workers about their jobs."""
        self._life = life
        self._attempts = attempts
        self._start_timeout = start_timeout
        #: They may be replaced for a while (see `cluster/ceded_jobs`).
        self.work_handlers = dict(work_handlers)
        self._agenda = agenda = life.agenda
        self._unread = unread
        self._store_id = store_id
        #: Whether other servers share the store, so that jobs may come at any time.
        self.has_peers = False
        #: Called when somebody has the extension; the store notes it for the next start.
        self.note_speaker: Callable[[], None] = _nothing
        #: How long an answer waits for its job (seconds).
        self.answer_s = ANSWER_S
        self._words = Words()
        #: Connections that have the extension.
        self._speakers: set[Session] = set()
        #: Jobs in doubt, and whether the store says that they ran.
        self._doubted: dict[Job, bool] = {}
        #: The same of the last jobs for which no word came in time.
        self._late: dict[Job, bool] = {}
        #: By handle: the client ids of the workers that go on with jobs here.
        self._claimed: dict[bytes, bytes] = {}
        self._alarm = agenda.alarm(self._forget_answers)
        self._found: dict[bytes, Session] = {}
        self._found_at = float("-inf")

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {ORPHAN_RUNS: self._runs, ORPHAN_WORK: self._work, ORPHAN_GONE: self._gone}

    def options(self) -> dict[bytes, Callable[[Session], None]]:
        """The option of this extension, and what follows its answer."""
        return {ORPHANED_JOBS_OPTION: self._subscribe}

    def _subscribe(self, session: Session) -> None:
        self._speakers.add(session)
        self.note_speaker()
        session.reply(encode_response(STORE_ID, self._store_id))

    def unsubscribe(self, session: Session) -> None:
        """The session is gone."""
        if session in self._speakers:
            self._speakers.discard(session)
            self._words.forget(session)

    # --- jobs that come from the store

    def claim(self, job: Job, *, was_running: bool) -> bool:
        """Whether a worker is known to run this job, which has come and is in no queue; then the worker has it."""
        word = self._words.get(job.handle)
        return word is not None and self._give(job, word, was_running=was_running)

    def doubt(self, job: Job, *, was_running: bool) -> None:
        """Keep the job out of its queue until `end_doubt`, unless a worker's word comes before."""
        self._doubted[job] = was_running
        self._life.hold(job)

    def end_doubt(self, job: Job) -> bool:
        """No word came. Returns whether the job is to be queued; else it is over, or a worker has it."""
        was_running = self._doubted.pop(job, None)
        if not self._doubted:
            self._doubted.clear()  # an empty one keeps the room of the million that it may have had
        if was_running is None or job.state is not HELD:
            return False
        self._life.unhold(job)
        if was_running and not self._attempts.lose_server(job):
            return False
        self._late[job] = was_running
        if len(self._late) > _MAX_LATE:
            del self._late[next(iter(self._late))]
        return True

    def expect(self, job: Job, worker: Session, answer: bytes = b"") -> None:
        """This worker runs the job, which may come from the store; or it has answered."""
        word = Word(worker, worker.client_id, job.attempt, job.since)
        if answer:
            self._keep_answer(word, answer, self._agenda.now)
        self._words.keep(job.handle, word)

    def expect_no_more(self, job: Job) -> None:
        """The worker of that job has gone without an answer."""
        self._words.take(job.handle)

    def _keep_answer(self, word: Word, answer: bytes, now: float) -> None:
        word.answer, word.until = answer, now + self.answer_s
        self._alarm.by(word.until)

    # --- words

    def _runs(self, session: Session, body: bytes, now: float) -> None:
        handle, client_id, attempt, elapsed = _arguments(body, ORPHAN_RUNS_ARGUMENTS, "ORPHAN_RUNS")
        began_at = now - _number(elapsed) / 1000
        self._hear(handle, Word(session, client_id or session.client_id, _number(attempt), began_at))

    def _work(self, session: Session, body: bytes, now: float) -> None:
        handle, attempt, packets = _arguments(body, ORPHAN_WORK_ARGUMENTS, "ORPHAN_WORK")
        parsed = _work_packets(packets, handle)
        if session.is_peer and (job := self._claimed_job(handle)) is not None and job.worker is not None:
            self._carry_out(job.worker, parsed)  # its worker is here too, but speaks with the server that had the job
            return
        word = Word(session, session.client_id, _number(attempt), now)
        if session.assigned.get(handle) is None and not self._is_claimed_by(handle, word):
            if any(packet_type in _ENDINGS for packet_type, _ in parsed):
                self._keep_answer(word, packets, now)
            self._hear(handle, word)
        if session.assigned.get(handle) is not None:
            self._carry_out(session, parsed)

    def _gone(self, session: Session, body: bytes, _now: float) -> None:
        handle, client_id = _arguments(body, ORPHAN_GONE_ARGUMENTS, "ORPHAN_GONE")
        word, job = self._words.get(handle), self._life.jobs.get(handle)
        if word is not None and word.client_id == client_id and not word.answer:
            self._words.take(handle)
        if job is None or job.worker is None or self._claimed.get(handle) != client_id:
            return
        is_supervisor = not session.is_peer and is_same_origin(job.worker.identity, session.identity)
        if job.worker is session or is_supervisor:
            self._attempts.lose_worker(job, "its worker has ended it without an answer")

    def _claimed_job(self, handle: bytes) -> Job | None:
        """The job, if a worker goes on with it here."""
        return self._life.jobs.get(handle) if handle in self._claimed else None

    def _hear(self, handle: bytes, word: Word) -> None:
        """Act on a word now, if its job is in doubt; else keep it if its job may come."""
        job = self._life.jobs.get(handle)
        if job is None:
            if self._store_id and (self.has_peers or self._unread.is_reading):
                self._words.keep(handle, word)
        elif job in self._doubted and job.state is HELD:
            was_running = self._doubted[job]
            if self._fits(job, word, was_running=was_running):
                del self._doubted[job]
                self._life.unhold(job)
                self._give(job, word, was_running=was_running)
        elif job.state is QUEUED and job in self._late:
            was_running = self._late[job]
            if self._fits(job, word, was_running=was_running):
                del self._late[job]
                take_out(job)
                self._give(job, word, was_running=was_running)
        elif not word.answer:
            self._is_claimed_by(handle, word)

    def _is_claimed_by(self, handle: bytes, word: Word) -> bool:
        """Whether this worker's supervisor was trusted with the job; from now on the worker itself has it."""
        job = self._life.jobs.get(handle)
        worker = None if job is None else job.worker
        if job is None or worker is None or self._claimed.get(handle) != word.client_id:
            return False
        own = self._worker_of(word)
        if own is None or worker.client_id == word.client_id or not is_same_origin(own.identity, worker.identity):
            return False
        del worker.assigned[handle]
        job.worker = own
        own.assigned[handle] = job
        return True

    # --- to the worker

    def _fits(self, job: Job, word: Word, *, was_running: bool) -> bool:
        """Whether the word is not about an earlier attempt. The loss of a job that ran is counted already."""
        return not word.attempt or word.attempt >= job.attempt - was_running

    def _give(self, job: Job, word: Word, *, was_running: bool) -> bool:
        """The worker has the job, which is in no queue. False: the word is about an earlier attempt."""
        if not self._fits(job, word, was_running=was_running):
            return False
        self._words.take(job.handle)
        _set_attempt(job, word.attempt or job.attempt - was_running)
        worker = Session(word.speaker.identity) if word.answer else self._worker_of(word) or word.speaker
        if job.function.throttle is not None:
            counted_in = job.function.throttle.note_running(job.key, word.began_at)
            if counted_in is not None:
                job.with_place().counted_in = counted_in
        self._life.assign(job, worker, word.began_at)
        self._life.events.emit(JobGoesOn(job.handle, job.function.name, word.client_id))
        if word.answer:
            self._carry_out(worker, _work_packets(word.answer, job.handle))
            if job.handle in worker.assigned:
                self._attempts.lose_worker(job, "its worker's answer made no sense")
            return True
        self._start_timeout(worker, job, word.began_at)
        self._claimed[job.handle] = word.client_id
        if len(self._claimed) > _MAX_CLAIMED:
            del self._claimed[next(iter(self._claimed))]
        return True

    def _carry_out(self, worker: Session, packets: Iterable[Packet]) -> None:
        for packet_type, body in packets:
            with contextlib.suppress(RefusedError, MalformedPacketError):
                self.work_handlers[packet_type](worker, body, self._agenda.now)

    def _worker_of(self, word: Word) -> Session | None:
        """The connection of the worker; None: it has none here."""
        if word.client_id == word.speaker.client_id:
            return word.speaker
        if self._found_at != self._agenda.now:
            self._found_at = self._agenda.now
            self._found = {session.client_id: session for session in self._speakers}
        worker = self._found.get(word.client_id)
        if worker is None or worker not in self._speakers:
            return None
        is_trusted = word.speaker.is_peer or is_same_origin(worker.identity, word.speaker.identity)
        return worker if is_trusted else None

    def _forget_answers(self, now: float) -> None:
        until = self._words.forget_old(now)
        if until is not None:
            self._alarm.by(until)


def _set_attempt(job: Job, attempt: int) -> None:
    """Set the number of the attempt that runs: what it is more than failures are losses."""
    history = job.history
    if history is None and attempt > 1:
        history = job.with_extras().history = JobHistory(job.since)
    if history is not None:  # it stays even if it is empty: the row of a job without one is not set back
        history.losses = max(0, attempt - 1 - history.failures)


def _work_packets(packets: bytes, handle: bytes) -> list[Packet]:
    """The packets of a worker about this job.

    Raises:
        MalformedPacketError: they are none, or about others.
    """
    parser = PacketParser(REQUEST_MAGIC)
    parsed = parser.feed(packets)
    if parser.violation is not None or parser.pending_bytes or not parsed:
        raise MalformedPacketError("ORPHAN_WORK takes handle, attempt and whole packets")
    if any(
        packet_type not in _ENDINGS | _REPORTS or body.partition(b"\0")[0] != handle for packet_type, body in parsed
    ):
        raise MalformedPacketError("ORPHAN_WORK holds another packet than those of a worker about that job")
    return list(parsed)


def _arguments(body: bytes, count: int, name: str) -> list[bytes]:
    arguments = body.split(b"\0", count - 1)
    if len(arguments) != count:
        raise MalformedPacketError(f"{name} takes {count} arguments")
    return arguments


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 12:
        raise MalformedPacketError("an attempt and a time are whole numbers")
    return int(digits)


def _nothing() -> None:
    """Nobody keeps it."""
