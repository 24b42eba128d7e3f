"""Several jobs at once for one worker: GRAB_JOBS and its answer, time limits, and the return of jobs. Pure.

A set holds jobs that the worker runs one after the other, or one batch of a function, which it begins as a whole. Jobs
that wait in a worker's hands are RUNNING like all that it was given, but the store does not hear of them, and they go
back to the head of their queue as if they had never been given out.

A function with `max_running` or a `rate` has at most one job in a set, the first: it would hold a place while it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hmac import compare_digest
from math import inf
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    GRAB_JOBS,
    GRAB_MANY_OPTION,
    HELD_JOBS_OPTION,
    JOBS_COMPLETE,
    MAX_JOBS_AT_ONCE,
    MAX_RETURN_KEY_BYTES,
    MIN_RETURN_KEY_BYTES,
    PLAIN_SETS_OPTION,
    RETURN_JOBS,
    SET_RETURN_KEY,
)
from gearman_client.packet import PacketType
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.events import RequestRefused
from gearman_server.jobs.job import PRIORITIES
from gearman_server.jobs.replies import error, job_assign_with, jobs_assigned, plain_jobs_assigned
from gearman_server.jobs.session import ASKING, HeldSet
from gearman_server.requests.batches import held_of, jobs_of
from gearman_server.requests.plain_jobs import PlainJobs

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function, JobQueue
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.requests.assignments import Assignments
    from gearman_server.requests.batches import Batches
    from gearman_server.requests.held_jobs import HeldJobs
    from gearman_server.requests.submissions import Handler

_WORK_COMPLETE: Final = int(PacketType.WORK_COMPLETE)
#: The workloads of one set, unless its first job alone is larger.
SET_BYTES: Final = 8 << 20


class Sets:
    """Handlers of GRAB_JOBS, SET_RETURN_KEY and RETURN_JOBS, and the choice of the jobs for a worker with `grab-many`.

    That extension leaves plain GRAB_JOB as it is: one job, chosen by the same rules.
    """

    def __init__(
        self,
        life: JobLife,
        attempts: Attempts,
        assignments: Assignments,
        batches: Batches,
        held_jobs: HeldJobs,
        agenda: Agenda,
    ) -> None:
        self._life = life
        self._plain = PlainJobs(life)
        self._attempts = attempts
        self._assignments = assignments
        self._batches = batches
        self._held_jobs = held_jobs
        self._agenda = agenda
        #: The broker's, by packet type: a job about which something is special ends as by a packet of its own.
        self.handlers_of_all: dict[int, Handler] = {}
        assignments.take_set = self.take
        assignments.startable_in_set = self.startable
        assignments.note_sleeper = held_jobs.note_sleeper

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            **self._batches.handlers(),
            GRAB_JOBS: self._grab_jobs,
            SET_RETURN_KEY: _set_return_key,
            RETURN_JOBS: self._return_jobs,
            JOBS_COMPLETE: self._complete_jobs,
        }

    def options(self) -> dict[bytes, Callable[[Session], None]]:
        """The options of this extension, of `plain-sets` and of `held-jobs`, and what follows their answers."""
        return {
            GRAB_MANY_OPTION: _enable,
            PLAIN_SETS_OPTION: _enable_lists,
            HELD_JOBS_OPTION: self._held_jobs.subscribe,
        }

    # --- giving out

    def _grab_jobs(self, session: Session, body: bytes, now: float) -> None:
        held = held_of(session)
        held.asked = jobs_of(body)
        self._held_jobs.robbed.discard(session)
        if session.assigned:
            for _ in self._take_back(session, list(session.assigned)):
                pass
        session.asking = _encode
        self._assignments.grab_with(session, _encode, now)
        if session.worker_state is not ASKING:
            session.asking = None
        if len(session.assigned) > STEP:
            session.yield_turn()

    def take(self, session: Session, now: float) -> Job | None:
        """Assign the next set to this worker, and return its first job; None if there is none."""
        held = session.held
        choice = self._choose(session, now)
        if choice is None or held is None:
            return None
        function, queue = choice
        rule = function.batches.get(session) if function.batches is not None else None
        share = self._share(function)
        held.begin(now, is_batch=rule is not None)
        first = self._start(session, held, queue, now)
        if session.asking is _encode and first.may_be_one_of_several:
            if rule is not None:
                self._add_to_batch(session, held, rule.at_most, now)
            elif len(session.functions) > 1:
                self._add_more(session, held, share - 1, now)
            elif function.throttle is None:
                self._add_of_function(session, held, min(held.asked, share), now)
        if held.shortest_s < inf:
            self._watch_limits(session, held, now)
        if len(held.jobs) > 1 and not held.is_batch:
            self._held_jobs.note_holder(session, held, now)
        return first

    def startable(self, session: Session, now: float) -> Iterator[Function]:
        """The function from which a set would be taken now."""
        choice = self._choose(session, now)
        if choice is not None:
            yield choice[0]

    def _choose(self, session: Session, now: float) -> tuple[Function, JobQueue] | None:
        """The function and the queue, with a living job at its head, from which the worker is served next: as for
        GRAB_JOB, but a batch has to be ripe."""
        if session.ready is not None:
            return self._choose_for_broad_worker(session, now)
        for priority in PRIORITIES:
            for function in session.functions:
                queue = function.queues[priority]
                if queue and queue.peek() is not None and self._may_start(session, function, now):
                    return function, queue
        return None

    def _choose_for_broad_worker(self, session: Session, now: float) -> tuple[Function, JobQueue] | None:
        for priority, functions in enumerate(session.ready or ()):
            idle: list[Function] = []
            choice = None
            for function in functions:
                queue = function.queues[priority]
                head = queue.peek()
                if not queue:
                    idle.append(function)
                elif head is not None and self._may_start(session, function, now):
                    choice = function, queue
                    break
            for function in idle:
                del functions[function]
            if choice is not None:
                return choice
        return None

    def _may_start(self, session: Session, function: Function, now: float) -> bool:
        if function.throttle is not None and not function.throttle.admits(function.running, now):
            return False
        return function.batches is None or self._batches.is_ripe(session, function, now)

    def _start(self, session: Session, held: HeldSet, queue: JobQueue, now: float) -> Job:
        """Give the first job of the queue, which was looked at, to the worker."""
        job = queue.take()
        assert job is not None
        function = job.function
        held.since[job.handle] = job.since
        if held.is_batch or not held.jobs:
            held.first = held.first or job.handle
            self._life.assign(job, session, now)
        else:
            self._life.assign_unbegun(job, session, now)
        held.jobs.append(job)
        if job.extras is not None or function is not held.jobs[0].function:
            held.is_plain = False
        if session.timeouts_s or function.policy.timeout_s is not None or job.extras is not None:
            self._note_limit(session, held, job, now)
        if session.ready is not None:
            session.ready[job.priority].move_to_end(function)
        elif len(session.functions) > 1:
            del session.functions[function]
            session.functions[function] = None
        return job

    def _add_more(self, session: Session, held: HeldSet, share: int, now: float) -> None:
        """Add jobs to the first, up to the number asked for: of any function that has no limits on starts, and no more
        of each than is this worker's share of it. `share` is what is left of the first job's function."""
        first = held.jobs[0]
        room = {first.function: share}
        left_bytes = SET_BYTES - len(first.workload)
        while len(held.jobs) < held.asked:
            choice = self._choose(session, now)
            if choice is None:
                return
            function, queue = choice
            job = queue.peek()
            assert job is not None
            left = room.get(function)
            if left is None:
                left = self._share(function)
            left_bytes -= len(job.workload)
            is_limited = function.throttle is not None or session in (function.batches or ())
            if left <= 0 or left_bytes < 0 or is_limited or not job.may_be_one_of_several:
                return
            room[function] = left - 1
            self._start(session, held, queue, now)

    def _add_of_function(self, session: Session, held: HeldSet, most: int, now: float) -> None:
        """Add jobs of the first job's function, which has no limits on starts, up to `most` in all: the hot path."""
        first = held.jobs[0]
        function = first.function
        jobs = self._plain.take(function, most - 1, SET_BYTES - len(first.workload))
        self._plain.assign_unbegun(jobs, function, session, held.since, now)
        held.jobs += jobs
        for job in jobs:
            if job.extras is not None:
                held.is_plain = False
                self._note_limit(session, held, job, now)

    def _add_to_batch(self, session: Session, held: HeldSet, most: int, now: float) -> None:
        """Add jobs of the first job's function, up to `most` in all, which all begin at once."""
        function = held.jobs[0].function
        throttle, since = function.throttle, held.since
        has_limit = bool(session.timeouts_s) or function.policy.timeout_s is not None
        room, left_bytes = most - 1, SET_BYTES - len(held.jobs[0].workload)
        for queue in function.queues:
            while room > 0 and queue:
                job = queue.peek()
                if job is None:
                    break
                left_bytes -= len(job.workload)
                if left_bytes < 0 or not job.may_be_one_of_several:
                    return
                if throttle is not None and not throttle.admits(function.running, now):
                    return
                queue.take()
                room -= 1
                since[job.handle] = job.since
                self._life.assign(job, session, now)
                held.jobs.append(job)
                if job.extras is not None:
                    held.is_plain = False
                if has_limit or job.extras is not None:
                    self._note_limit(session, held, job, now)

    def _note_limit(self, session: Session, held: HeldSet, job: Job, now: float) -> None:
        """Note how long the worker may have this job. In a batch all of them begin at once."""
        if held.is_batch:
            self._assignments.start_timeout(session, job, now)
        else:
            limit = self._assignments.limit_of(session, job)
            held.shortest_s = min(held.shortest_s, limit[0] if limit is not None else inf)

    def _share(self, function: Function) -> int:
        """The function's jobs that one worker takes at most, so that others get some too: those that sleep, were just
        woken, or will ask once their job is done, because those behind it were taken from them."""
        others = len(function.sleepers) + len(function.woken)
        if self._held_jobs.robbed:
            others += sum(function in worker.functions for worker in self._held_jobs.robbed)
        return -(-function.takeable // (others + 1))

    # --- limits of time

    def _watch_limits(self, session: Session, held: HeldSet, now: float) -> None:
        if held.alarm is None:
            held.alarm = self._agenda.alarm(partial(self._check_limits, session))
        held.alarm.by(now + held.shortest_s)

    def _check_limits(self, session: Session, now: float) -> None:
        """End the job that runs if it is over its limit; the jobs behind it go back. The limit of a job begins when the
        one before it was answered, since when the worker has had no other."""
        held, job = session.held, next(iter(session.assigned.values()), None)
        if held is None or job is None or held.is_batch:
            return
        begun_at = max(held.given_at, session.done_at)
        limit = self._assignments.limit_of(session, job)
        if limit is not None and begun_at + limit[0] <= now:
            for _ in self._take_back(session, list(session.assigned)[1:]):
                pass
            self._attempts.overrun(job, limit[1])
            return
        due = now + held.shortest_s if limit is None else min(now + held.shortest_s, begun_at + limit[0])
        if due < inf and held.alarm is not None:
            held.alarm.by(due)

    # --- their ends

    def _complete_jobs(self, session: Session, body: bytes, now: float) -> None:
        """Our extension `plain-sets`: a WORK_COMPLETE without a result for each of these jobs."""
        handles = body.split(b"\0")
        if len(handles) > MAX_JOBS_AT_ONCE:
            raise MalformedPacketError(f"JOBS_COMPLETE takes {MAX_JOBS_AT_ONCE} handles at most")
        if len(handles) > STEP:
            session.yield_turn()
        for handle in self._plain.end_each(handles, session, now):
            try:
                self.handlers_of_all[_WORK_COMPLETE](session, handle + b"\0", now)
            except RefusedError as refusal:
                session.reply(error(refusal.code, refusal.text))
                self._life.events.emit(RequestRefused(session.identity, refusal.code, refusal.text))

    # --- giving back

    def _return_jobs(self, session: Session, body: bytes, _now: float) -> None:
        """Take jobs back. Those that the worker with this key does not have any more are passed over."""
        key, *handles = body.split(b"\0")
        if len(handles) > MAX_JOBS_AT_ONCE:
            raise MalformedPacketError(f"RETURN_JOBS takes {MAX_JOBS_AT_ONCE} handles at most")
        by_worker: dict[Session, list[bytes]] = {}
        for handle in handles:
            job = self._life.jobs.get(handle)
            worker = job.worker if job is not None else None
            if worker is not None and _may_return(session, key, worker):
                by_worker.setdefault(worker, []).append(handle)
        for worker, its_handles in by_worker.items():
            if worker is not session:
                self._held_jobs.robbed.add(worker)
            self._agenda.chores.start(self._take_back(worker, its_handles))

    def _take_back(self, worker: Session, handles: Iterable[bytes]) -> Iterator[None]:
        """Take jobs back from a worker, in steps: the last first, because each goes to the head of its queue."""
        held = worker.held
        since = held.since if held is not None else {}
        for at, handle in enumerate(reversed(list(handles)), 1):
            job = worker.assigned.get(handle)
            if job is not None:
                self._life.take_back(job, since.pop(handle, job.since))
            if at % STEP == 0:
                yield
                if held is not None and held.since is not since:
                    return  # meanwhile it was given another set, maybe with the same jobs, and has begun it


def _encode(first: Job) -> bytes:
    """The answer to GRAB_JOBS, once the set has been assigned with its first job."""
    held = first.worker.held if first.worker is not None else None
    if held is None:
        return jobs_assigned([first])
    jobs, held.jobs = held.jobs, []
    if held.takes_lists and held.is_plain:
        return plain_jobs_assigned(first.function.name, jobs)
    worker = first.worker
    return jobs_assigned(jobs, with_options=worker is not None and worker.assignment is job_assign_with)


def _enable(session: Session) -> None:
    """The connection has asked for the extension."""
    session.held = session.held or HeldSet()


def _enable_lists(session: Session) -> None:
    """The same, for sets in one packet."""
    _enable(session)
    held_of(session).takes_lists = True


def _set_return_key(session: Session, body: bytes, _now: float) -> None:
    held = held_of(session)
    if not MIN_RETURN_KEY_BYTES <= len(body) <= MAX_RETURN_KEY_BYTES or b"\0" in body:
        raise MalformedPacketError(
            f"SET_RETURN_KEY takes {MIN_RETURN_KEY_BYTES} to {MAX_RETURN_KEY_BYTES} bytes without a zero"
        )
    held.key = body


def _may_return(session: Session, key: bytes, worker: Session) -> bool:
    if worker.held is None:
        return False
    return session is worker if not key else bool(worker.held.key) and compare_digest(key, worker.held.key)
