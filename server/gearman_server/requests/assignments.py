"""The requests by which workers get jobs: PRE_SLEEP, GRAB_JOB*, and their answers, which may come later. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from gearman_client.packet import PacketType
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import PRIORITIES, Job
from gearman_server.jobs.policies import TIMEOUT_GRACE_S
from gearman_server.jobs.replies import NO_JOB, job_assign, job_assign_all, job_assign_unique
from gearman_server.jobs.session import ANSWER, ASK, ASKING, AWAKE, SLEEPING, WOKEN
from gearman_server.jobs.timeouts import JobTimeouts, Overrun

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.requests.submissions import Handler

#: The functions of a worker that have jobs in their queues, by priority.
Ready = tuple[OrderedDict["Function", None], ...]


class Assignments:
    """Handlers of the requests for jobs."""

    def __init__(
        self,
        life: JobLife,
        wake_up: WakeUp,
        timeouts: JobTimeouts,
        agenda: Agenda,
        touched: set[Session],
        patience_s: float,
    ) -> None:
        """A worker that has just finished a job waits `patience_s` for the next one before it gets NO_JOB."""
        self._assign = life.assign
        self._wake_up = wake_up
        self._timeouts = timeouts
        self._touched = touched
        self._is_assigning = True
        self._patience_s = patience_s
        #: Workers whose GRAB_JOB found nothing and is not answered yet, in the order of their requests.
        self.asking: dict[Session, None] = {}
        self._patience_alarm = agenda.alarm(_nothing)
        #: For workers that may be given several jobs at once: they assign these, and return the first (see `sets`).
        self.take_set: Callable[[Session, float], Job | None] = _take_nothing
        #: The functions of which such a worker would be given jobs now.
        self.startable_in_set: Callable[[Session, float], Iterable[Function]] = _none_startable
        #: Told of each worker that has found nothing to do (see `held_jobs`).
        self.note_sleeper: Callable[[float], None] = _nothing

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.PRE_SLEEP: self._pre_sleep,
            PacketType.GRAB_JOB: self._grab,
            PacketType.GRAB_JOB_UNIQ: self._grab_unique,
            PacketType.GRAB_JOB_ALL: self._grab_all,
        }

    def stop(self) -> None:
        """Give out no more jobs: the server is ending."""
        self._is_assigning = False
        self._wake_up.stop()

    # --- sleeping and grabbing

    def _pre_sleep(self, session: Session, _body: bytes, now: float) -> None:
        if session.worker_state is WOKEN:
            self._wake_up.rouse(session)  # it was woken, but did not ask for a job
        candidates: Iterable[Function]
        if session.held is not None:
            candidates = self.startable_in_set(session, now)
        else:
            candidates = session.functions if session.ready is None else self._startable(session.ready, now)
        for function in candidates:
            if self._is_assigning and function.has_job_for_a_worker(now):
                self._wake_up.wake_worker(session, function)
                return
        self._wake_up.put_to_sleep(session)
        self.note_sleeper(now)
        if session.assigned and session.timeouts_s:
            if len(session.assigned) > STEP:
                session.yield_turn()
            self._stop_announced_timeouts(session)
        # One that has very many functions is told of their jobs; those that wait are those of throttled functions.
        for function in session.functions if session.ready is None else _all_ready(session.ready):
            if function.throttle is not None and self._is_assigning and session.worker_state is SLEEPING:
                self._wake_up.wake_for_openings(function)  # plans it for when the rate allows the next start

    def _grab(self, session: Session, _body: bytes, now: float) -> None:
        self.grab_with(session, job_assign, now)

    def _grab_unique(self, session: Session, _body: bytes, now: float) -> None:
        self.grab_with(session, session.assignment or job_assign_unique, now)

    def _grab_all(self, session: Session, _body: bytes, now: float) -> None:
        self.grab_with(session, session.assignment or job_assign_all, now)

    def grab_with(self, session: Session, encode: Callable[[Job], bytes], now: float) -> None:
        """Answer a request for a job with one, encoded so; if there is none, the answer may wait for the next."""
        job = self._take(session, now)
        if job is not None:
            session.reply(encode(job))
        else:
            session.worker_state = ASK[session.worker_state]
            session.asking = encode
            self.asking[session] = None

    def answer_asking(self, now: float) -> bool:
        """Answer workers whose GRAB_JOB found nothing, with a job that has come since or NO_JOB. Returns whether any
        got a job.

        A worker that has just finished a job is not sent to sleep at once: the client that got the result often submits
        another job, and one round trip with it replaces three with NO_JOB, PRE_SLEEP, NOOP and GRAB_JOB.
        """
        has_assigned = False
        for session in list(self.asking):
            if self._answer(session, now, may_wait=self._is_assigning and now < session.done_at + self._patience_s):
                has_assigned = True
        if self.asking and self._patience_alarm.due is None:
            self._patience_alarm.by(now + self._patience_s)
        return has_assigned

    def answer(self, session: Session, now: float) -> None:
        """Answer this worker now, if it waits for an answer, since no later reply may overtake it. A connection that is
        ending gets no job."""
        if session.worker_state is ASKING:
            self._answer(session, now, may_wait=False)

    def _answer(self, session: Session, now: float, *, may_wait: bool) -> bool:
        is_ending = session.ending is not None
        job = None if is_ending else self._take(session, now)
        if job is None and may_wait and not is_ending:
            return False
        session.worker_state = ANSWER[session.worker_state]
        encode, session.asking = session.asking, None
        del self.asking[session]
        if encode is not None:
            session.reply(NO_JOB if job is None else encode(job))
            self._touched.add(session)
        return job is not None

    def _take(self, session: Session, now: float) -> Job | None:
        """Assign the next job to this worker and return it; None if there is none.

        A high job of any of its functions comes before a normal one of any other. Within a priority, the function that
        was served longest ago comes first.
        """
        if session.worker_state is not AWAKE:
            self._wake_up.rouse(session)
        if session.held is not None:
            return self.take_set(session, now) if self._is_assigning else None
        if session.ready is not None:
            return self._take_for_broad_worker(session, session.ready, now)
        functions = session.functions
        for priority in PRIORITIES:
            for function in functions:
                queue = function.queues[priority]
                if queue and (function.throttle is None or function.throttle.admits(function.running, now)):
                    job = queue.take() if self._is_assigning else None
                    if job is not None:
                        if len(functions) > 1:
                            del functions[function]
                            functions[function] = None
                        self._assign(job, session, now)  # as `_start` does, without another call
                        has_limit = session.timeouts_s or function.policy.timeout_s is not None
                        if has_limit or (job.extras is not None and job.extras.options is not None):
                            self.start_timeout(session, job, now)
                        return job
        return None

    def _take_for_broad_worker(self, session: Session, ready: Ready, now: float) -> Job | None:
        """Do the same for a worker with very many functions. Those that have jobs are served in turn."""
        if not self._is_assigning:
            return None
        for priority, functions in enumerate(ready):
            function = _first_startable(functions, priority, now)
            job = function.queues[priority].take() if function is not None else None
            if job is not None and function is not None:
                functions.move_to_end(function)
                return self._start(job, session, now)
        return None

    def _startable(self, ready: Ready, now: float) -> Iterator[Function]:
        for priority, functions in enumerate(ready):
            function = _first_startable(functions, priority, now)
            if function is not None:
                yield function

    def _start(self, job: Job, session: Session, now: float) -> Job:
        self._assign(job, session, now)
        if session.timeouts_s or job.timeout_s is not None:
            self.start_timeout(session, job, now)
        return job

    def _stop_announced_timeouts(self, session: Session) -> None:
        """A worker that sleeps has no clock of its own, as in gearmand; the policy's limit holds on.

        A libgearman worker that has overrun its time takes the ERROR for its late result as the answer to its GRAB_JOB,
        and sleeps; the job that the server has assigned meanwhile is found only afterwards. With the clock going on it
        would overrun again, and its job would be repeated without end.
        """
        for job in session.assigned.values():
            if job.rare.deadline is None or job.function not in session.timeouts_s:
                continue
            limit_s = job.timeout_s
            if limit_s is None:
                self._timeouts.stop(job)
            else:
                self._timeouts.start(job, job.since + limit_s + TIMEOUT_GRACE_S, Overrun.POLICY)

    def start_timeout(self, session: Session, job: Job, now: float) -> None:
        """Start the limit of a job that this worker begins now."""
        limit = self.limit_of(session, job)
        if limit is not None:
            self._timeouts.start(job, now + limit[0], limit[1])

    def limit_of(self, session: Session, job: Job) -> tuple[float, Overrun] | None:
        """The limit that comes first (seconds): the one that the worker announced, or the policy's after some grace.
        None: there is none."""
        announced_s = session.timeouts_s.get(job.function)
        limit_s = job.timeout_s
        if limit_s is not None and (announced_s is None or limit_s + TIMEOUT_GRACE_S < announced_s):
            return limit_s + TIMEOUT_GRACE_S, Overrun.POLICY
        return None if announced_s is None else (announced_s, Overrun.ANNOUNCED)


def _first_startable(functions: OrderedDict[Function, None], priority: int, now: float) -> Function | None:
    """The first function with a job that may be started. Functions without jobs are forgotten, so that nobody looks at
    them again before they have some."""
    throttled: list[Function] = []
    found = None
    while functions and found is None:
        function = next(iter(functions))
        queue = function.queues[priority]
        head = queue.peek()
        if not queue:
            del functions[function]
        elif head is None or (function.throttle is not None and not function.throttle.admits(function.running, now)):
            del functions[function]
            throttled.append(function)
        else:
            found = function
    for function in reversed(throttled):
        functions[function] = None
        functions.move_to_end(function, last=False)
    return found


def _all_ready(ready: Ready) -> list[Function]:
    return [function for functions in ready for function in functions]


def _nothing(_now: float) -> None:
    """Do nothing: the alarm only has to start a pass, at the end of which `answer_asking` is called."""


def _take_nothing(_session: Session, _now: float) -> Job | None:
    """Nobody can ask for several jobs."""
    return None


def _none_startable(_session: Session, _now: float) -> Iterable[Function]:
    return ()
