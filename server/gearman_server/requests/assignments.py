"""What workers say about themselves, and how they are given jobs: CAN_DO*, CANT_DO, PRE_SLEEP, GRAB_JOB*. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gearman_client.packet import PacketType
from gearman_server.errors import MalformedPacketError
from gearman_server.jobs.events import FunctionRegistered, FunctionUnregistered, JobAssigned
from gearman_server.jobs.job import PRIORITIES, RUNNING, Job
from gearman_server.jobs.policies import TIMEOUT_GRACE_S
from gearman_server.jobs.replies import NO_JOB, job_assign, job_assign_all, job_assign_attempt, job_assign_unique
from gearman_server.jobs.timeouts import JobTimeouts, Overrun

if TYPE_CHECKING:
    from gearman_server.jobs.attempts import Attempts
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.session import Session
    from gearman_server.requests.submissions import Handler

MAX_CLIENT_ID_BYTES: Final = 127
MIN_TIMEOUT_MS: Final = 1000
MAX_TIMEOUT_MS: Final = 2**31


class Assignments:
    """Handlers of the worker's requests other than results."""

    def __init__(self, table: JobTable, attempts: Attempts, timeouts: JobTimeouts, patience_s: float) -> None:
        """A worker that has just finished a job waits so long for the next before it is told that there is none."""
        self._table = table
        self._attempts = attempts
        self._timeouts = timeouts
        self._is_assigning = True
        self._patience_s = patience_s
        #: Workers whose GRAB_JOB found nothing and is not answered yet, in the order of their asking.
        self.asking: dict[Session, None] = {}
        self._patience_alarm = table.agenda.alarm(_nothing)

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.CAN_DO: self._can_do,
            PacketType.CAN_DO_TIMEOUT: self._can_do_timeout,
            PacketType.CANT_DO: self._cant_do,
            PacketType.RESET_ABILITIES: self._reset_abilities,
            PacketType.SET_CLIENT_ID: _set_client_id,
            PacketType.PRE_SLEEP: self._pre_sleep,
            PacketType.GRAB_JOB: self._grab,
            PacketType.GRAB_JOB_UNIQ: self._grab_unique,
            PacketType.GRAB_JOB_ALL: self._grab_all,
        }

    def stop(self) -> None:
        """From now on nobody is given a job: the server is ending."""
        self._is_assigning = False
        self._table.wake_up.stop()

    # --- registration

    def _can_do(self, session: Session, body: bytes, _now: float) -> None:
        self._register(session, body, None)

    def _can_do_timeout(self, session: Session, body: bytes, _now: float) -> None:
        name, separator, digits = body.partition(b"\0")
        if not separator:
            raise MalformedPacketError("CAN_DO_TIMEOUT takes function and milliseconds")
        self._register(session, name, _timeout_s(digits))

    def _register(self, session: Session, name: bytes, timeout_s: float | None) -> None:
        function = self._table.function(name)
        # The last registration wins, and only the first one counts: gearmand would list the function twice.
        session.timeouts_s.pop(function, None)
        if timeout_s is not None:
            session.timeouts_s[function] = timeout_s
        if session in function.workers:
            return
        function.workers.add(session)
        session.functions.append(function)
        if session.sleeping:
            function.sleepers[session] = None
        self._table.events.emit(FunctionRegistered(session.identity, session.client_id, name))

    def _cant_do(self, session: Session, body: bytes, _now: float) -> None:
        function = self._table.functions.get(body)
        if function is not None and session in function.workers:
            session.functions.remove(function)
            self._unregister(session, function)

    def _reset_abilities(self, session: Session, _body: bytes, _now: float) -> None:
        self.forget_abilities(session)

    def forget_abilities(self, session: Session) -> None:
        """Unregister it from everything; what it was running goes back to the queues."""
        functions, session.functions = session.functions, []
        for function in functions:
            self._unregister(session, function)

    def _unregister(self, session: Session, function: Function) -> None:
        function.workers.discard(session)
        function.sleepers.pop(session, None)
        function.woken.discard(session)
        session.timeouts_s.pop(function, None)
        for job in [job for job in session.assigned.values() if job.function is function]:
            self._attempts.lose_worker(job, "its worker gave the function up")
        self._table.events.emit(FunctionUnregistered(session.identity, session.client_id, function.name))

    # --- sleeping and grabbing

    def _pre_sleep(self, session: Session, _body: bytes, now: float) -> None:
        if session.woken_for is not None:
            self._table.wake_up.rouse(session)  # it did not ask for a job
        for function in session.functions:
            if self._is_assigning and function.has_job_for_a_worker(now):
                self._table.wake_up.wake_worker(session, function)
                return
        session.sleeping = True
        for function in session.functions:
            function.sleepers[session] = None
        for function in session.functions:
            if function.throttle is not None and self._is_assigning and session.sleeping:
                self._table.throttling.wake(function)  # not now: when its rate allows the next start

    def _grab(self, session: Session, _body: bytes, now: float) -> None:
        self._grab_with(session, job_assign, now)

    def _grab_unique(self, session: Session, _body: bytes, now: float) -> None:
        self._grab_with(session, job_assign_attempt if session.wants_attempt else job_assign_unique, now)

    def _grab_all(self, session: Session, _body: bytes, now: float) -> None:
        self._grab_with(session, job_assign_attempt if session.wants_attempt else job_assign_all, now)

    def _grab_with(self, session: Session, encode: Callable[[Job], bytes], now: float) -> None:
        job = self._take(session, now)
        if job is not None:
            session.reply(encode(job))
        else:
            session.asking = encode
            self.asking[session] = None

    def answer_asking(self, now: float) -> bool:
        """Those who asked and found nothing get what has come since, or NO_JOB. Returns whether any got a job.

        Who has just finished a job is not sent to sleep at once: the client that has its result now often has another
        job, and one round trip with it replaces three with NO_JOB, PRE_SLEEP, NOOP and GRAB_JOB.
        """
        has_assigned = False
        for session in list(self.asking):
            if self._answer(session, now, may_wait=self._is_assigning and now < session.done_at + self._patience_s):
                has_assigned = True
        if self.asking:
            self._patience_alarm.by(now + self._patience_s)
        return has_assigned

    def answer(self, session: Session, now: float) -> None:
        """This one now, if it waits for an answer: its next reply must not overtake this. Who is to go gets no job."""
        if session.asking is not None:
            self._answer(session, now, may_wait=False)

    def _answer(self, session: Session, now: float, *, may_wait: bool) -> bool:
        is_ending = session.ending is not None
        job = None if is_ending else self._take(session, now)
        if job is None and may_wait and not is_ending:
            return False
        encode, session.asking = session.asking, None
        del self.asking[session]
        if encode is not None:
            session.reply(NO_JOB if job is None else encode(job))
            self._table.touched.add(session)
        return job is not None

    def _take(self, session: Session, now: float) -> Job | None:
        """The next job for this worker, now assigned to it.

        A high job of any of its functions comes before a normal one of any other; within a priority the function that
        was served longest ago comes first.
        """
        if session.sleeping or session.woken_for is not None:
            self._table.wake_up.rouse(session)
        functions = session.functions
        for priority in PRIORITIES:
            for function in functions:
                queue = function.queues[priority]
                if queue and (function.throttle is None or function.throttle.admits(function.running, now)):
                    job = queue.take() if self._is_assigning else None
                    if job is not None:
                        if len(functions) > 1:
                            functions.remove(function)
                            functions.append(function)
                        self._assign(session, job, now)
                        return job
        return None

    def _assign(self, session: Session, job: Job, now: float) -> None:
        job.state = RUNNING
        job.worker = session
        session.assigned[job.handle] = job
        function = job.function
        function.running += 1
        if function.throttle is not None:
            function.throttle.note_start(now)
        if job.record is not None:
            self._table.durability.job_changed(job)
        if session.timeouts_s or function.policy.timeout_s is not None:
            self._start_timeout(session, job, now)
        if function.counts is not None:
            function.counts[job.priority].note_start(now - job.since)
        job.since = now
        if self._table.events.wants_jobs:
            self._table.events.emit(JobAssigned(job.handle, function.name, session.identity))

    def _start_timeout(self, session: Session, job: Job, now: float) -> None:
        """Whichever limit comes first: the one that the worker announced, or the policy's, after some grace."""
        announced_s = session.timeouts_s.get(job.function)
        limit_s = job.function.policy.timeout_s
        if limit_s is not None and (announced_s is None or limit_s + TIMEOUT_GRACE_S < announced_s):
            self._timeouts.start(job, now + limit_s + TIMEOUT_GRACE_S, Overrun.POLICY)
        elif announced_s is not None:
            self._timeouts.start(job, now + announced_s, Overrun.ANNOUNCED)


def _nothing(_now: float) -> None:
    """It is time for `answer_asking`, which follows whatever is done."""


def _set_client_id(session: Session, body: bytes, _now: float) -> None:
    # Cut as in gearmand; a line feed in it would forge a line of the text command `workers`.
    session.client_id = body[:MAX_CLIENT_ID_BYTES].translate(None, b"\0\r\n")


def _timeout_s(digits: bytes) -> float | None:
    """Seconds of a CAN_DO_TIMEOUT: what is no positive number means none, and less than a second counts as one."""
    text = digits.strip()
    if not text.isdigit():
        return None
    milliseconds = MAX_TIMEOUT_MS if len(text) > len(str(MAX_TIMEOUT_MS)) else min(int(text), MAX_TIMEOUT_MS)
    return max(milliseconds, MIN_TIMEOUT_MS) / 1000 if milliseconds > 0 else None
