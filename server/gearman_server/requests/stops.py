"""The extensions `job-stop`, `job-stopping`, `own-job-stopping`: a job ends at once, also one that a worker has. Pure.

A waiting job is cancelled. The worker of a running one, or its supervisor, is told to stop it; whatever the worker
answers, the job is never run again. If nobody can be told, or nothing comes of it in time, the job is over for its
clients, and the worker goes on for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.extensions import (
    JOB_STOP_OPTION,
    JOB_STOPPING,
    JOB_STOPPING_OPTION,
    OWN_STOPS_OPTION,
    STOP_JOB,
)
from gearman_client.packet import encode_request, encode_response
from gearman_server.errors import RefusedError
from gearman_server.jobs.access import is_same_origin
from gearman_server.jobs.events import StopOutcome
from gearman_server.jobs.job import RUNNING, STOPPING
from gearman_server.jobs.policies import STOP_GRACE_S
from gearman_server.jobs.timeouts import Overrun

if TYPE_CHECKING:
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.timeouts import JobTimeouts
    from gearman_server.requests.submissions import Handler

#: What stands between a supervisor's name and the marks of its pools.
_MARKS: Final = b"+"
#: The client ids of connections that have given none.
_NAMELESS: Final = (b"", b"-")


class Answer(Enum):
    """What a request to stop a job has come to."""

    #: It waited, and is cancelled.
    CANCELLED = b"cancelled"
    #: Its worker is told.
    STOPPING = b"stopping"
    #: Nobody could tell its worker: it is over for its clients.
    STOPPED = b"stopped"
    #: There is no such job, or it is over for its clients.
    UNKNOWN = b"unknown"


class Elsewhere(Protocol):
    """Asks the other servers of a cluster."""

    def may_ask(self, session: Session) -> bool:
        """Whether others are asked for this session."""

    def cancel(self, session: Session, handle: bytes, unknown: bytes) -> bytes:
        """Cancel a job that is not here. The answer is `unknown` if it is nowhere; empty if it follows later."""

    def ask(self, handle: bytes, request: bytes, answer: Callable[[object, bytes | None], None]) -> None:
        """Send the request to whoever has that job. `answer` gets the body of the reply last; None: there is none."""


class Stops:
    """Stops jobs, and tells those that can stop a worker's function."""

    def __init__(
        self, life: JobLife, timeouts: JobTimeouts, durability: Durability, agenda: Agenda, allowed: AccessList
    ) -> None:
        """`allowed` are those that may stop jobs."""
        self._life = life
        self._timeouts = timeouts
        self._durability = durability
        self._agenda = agenda
        self._allowed = allowed
        self._touched = life.touched
        self._supervisors: set[Session] = set()
        #: Workers that hear of their own jobs.
        self._hearing: set[Session] = set()
        #: Asks other servers to stop jobs that are not here; None: nobody else could have them (the room `cluster`).
        self.elsewhere: Elsewhere | None = None

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {STOP_JOB: self._stop_job}

    def options(self) -> dict[bytes, Callable[[Session], None]]:
        """The options of these extensions, and what follows their answers."""
        return {
            JOB_STOP_OPTION: _nothing,
            JOB_STOPPING_OPTION: self._supervisors.add,
            OWN_STOPS_OPTION: self._hearing.add,
        }

    def forget(self, session: Session) -> None:
        """Forget a session that is gone."""
        self._supervisors.discard(session)
        self._hearing.discard(session)

    def stop(self, session: Session, handles: Sequence[bytes], answer: Callable[[Sequence[Answer]], bytes]) -> None:
        """Stop these jobs, and reply to the session with the `answer` to what has come of each, once it is certain that
        none of them is run again, whatever becomes of the server.

        Raises:
            RefusedError: this session may not.
        """
        if not self.may(session):
            raise RefusedError(b"NOT_ALLOWED", b"Not from this address: the operator says who may with --admin-allow")
        gap = session.withhold()
        pending = 1

        def settle() -> None:
            nonlocal pending
            pending -= 1
            if not pending:
                gap.release(answer(answers))
                self._touched.add(session)

        def note(at: int, _found: object, body: bytes | None) -> None:
            word = (body or b"").rpartition(b"\0")[2]
            answers[at] = next((each for each in Answer if each.value == word), Answer.UNKNOWN)
            settle()

        answers: list[Answer] = []
        for handle in handles:
            job = self._life.jobs.get(handle)
            if job is not None and (job.is_waiting or job.state in (RUNNING, STOPPING)):
                pending += 1
                self._durability.stop(job, settle)
            answers.append(Answer.UNKNOWN if job is None else self._stop(job))
            if job is None and self.elsewhere is not None and self.elsewhere.may_ask(session):
                pending += 1
                self.elsewhere.ask(handle, encode_request(STOP_JOB, handle), partial(note, len(answers) - 1))
        settle()

    def stop_unasked(self, job: Job) -> None:
        """Stop a job of which nobody asks what has come."""
        if job.is_waiting or job.state is RUNNING:
            self._durability.stop(job, _nobody_waits)
            self._stop(job)

    def may(self, session: Session) -> bool:
        """Whether the session may stop jobs."""
        return session.is_peer or self._allowed.allows(session.identity)

    def _stop_job(self, session: Session, body: bytes, _now: float) -> None:
        handle = body.partition(b"\0")[0]
        self.stop(session, (handle,), lambda answers: encode_response(STOP_JOB, handle, answers[0].value))

    def _stop(self, job: Job) -> Answer:
        if job.is_waiting:
            self._life.cancel(job)
            return Answer.CANCELLED
        if job.state is STOPPING:
            return Answer.STOPPING
        if job.state is not RUNNING:
            return Answer.UNKNOWN
        told = self._hearers_of(job)
        self._life.stop(job)
        if not told:
            self._life.leave_stopped(job, StopOutcome.UNTOLD)
            return Answer.STOPPED
        self._tell(told, job)
        until, deadline = self._agenda.now + STOP_GRACE_S, job.rare.deadline
        if deadline is None or until < deadline:
            self._timeouts.start(job, until, Overrun.STOP)
        return Answer.STOPPING

    def _tell(self, hearers: Sequence[Session], job: Job) -> None:
        worker = job.worker
        if worker is None:
            return
        packet = encode_response(JOB_STOPPING, worker.client_id, str(worker.identity).encode(), job.handle)
        for session in hearers:
            session.reply(packet)
        self._touched.update(hearers)

    def _hearers_of(self, job: Job) -> list[Session]:
        """Those that can stop the job: its worker, if it wants to hear of that; else the worker's supervisor, by the
        client id; for a worker whose id is none of a supervisor's, those at its address. None can stop one job of a
        batch, which runs as a whole."""
        worker = job.worker
        if worker is None or (worker.held is not None and worker.held.is_batch):
            return []
        if worker in self._hearing:
            return [worker]
        own = [each for each in self._supervisors if worker.client_id.startswith(_name_of(each) + b"/")]
        return own or [each for each in self._supervisors if is_same_origin(each.identity, worker.identity)]


def _name_of(supervisor: Session) -> bytes:
    name = supervisor.client_id.partition(_MARKS)[0]
    return b"\0" if name in _NAMELESS else name  # no client id begins with a zero byte


def _nobody_waits() -> None:
    """It is written that a job is not run again."""


def _nothing(_session: Session) -> None:
    """The client only wants to know whether the server can stop jobs."""
