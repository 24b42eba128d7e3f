"""Every job and function the server knows, and what can become of a job: queued, requeued, ended, dropped.

Pure, and ignorant of packets' arguments: the request handlers (submissions, work, queries, admin) call this, and it
keeps the indexes true to each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import TYPE_CHECKING, Final, TypeVar

from gearman_client.packet import PacketType
from gearman_server.errors import RefusedError
from gearman_server.jobs.access import THIS_MACHINE, AccessList
from gearman_server.jobs.dead_letters import DEFAULT_BOUNDS, DeadLetterBounds, DeadLetters
from gearman_server.jobs.delayed_jobs import EpochTimer, RetryTimer
from gearman_server.jobs.durability import Durability
from gearman_server.jobs.events import EventStream, JobDropped, JobDue
from gearman_server.jobs.function import Function
from gearman_server.jobs.function_bound import FunctionBound
from gearman_server.jobs.job import ENDED, QUEUED, Job, JobState, coalescing_key
from gearman_server.jobs.job_counts import no_counts
from gearman_server.jobs.kept_results import DEFAULT_BOUNDS as DEFAULT_RESULT_BOUNDS
from gearman_server.jobs.kept_results import Ending, ResultBounds
from gearman_server.jobs.policies import FunctionPolicy, Policies
from gearman_server.jobs.replies import MAX_HANDLE_BYTES, forwarded
from gearman_server.jobs.result_keeping import ResultKeeping
from gearman_server.jobs.throttling import Throttling
from gearman_server.jobs.wake_up import WakeUp

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import CoalescingKey
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import Store
    from gearman_server.requests.replay import Replay

MAX_FUNCTION_BYTES: Final = 8192

#: An index of less is left as it is; a growing dictionary takes up to 120 bytes for each of its keys.
_SMALL_INDEX_BYTES: Final = 1 << 20
_SPARSE_BYTES_PER_JOB: Final = 256

Key = TypeVar("Key")

# A name with a line feed or a TAB in it would forge lines of the `status` table, which monitoring parses.
_UNPRINTABLE: Final = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What the operator decides about jobs."""

    handle_prefix: bytes = b"H:localhost"
    #: How many attempts a job gets before a lost worker is its last one; None = no limit.
    job_retries: int | None = None
    #: How long a worker that has just finished a job waits for the next before it is told that there is none.
    grab_patience_s: float = 0.001
    #: How many sleeping workers one job wakes at once; 0 = all, as long as it waits.
    worker_wakeup: int = 0
    #: Whether every connection gets WORK_EXCEPTION without asking.
    exceptions: bool = False
    #: Who may change things by text command.
    admin_allow: AccessList = THIS_MACHINE
    #: Whether the text command `shutdown` is known.
    allow_shutdown: bool = False
    #: How many jobs that failed for good are kept.
    dead_letters: DeadLetterBounds = DEFAULT_BOUNDS
    #: How many results of background jobs are kept.
    results: ResultBounds = DEFAULT_RESULT_BOUNDS


class JobTable:
    """Jobs by handle, functions by name, and the transitions of a job's life."""

    def __init__(
        self,
        store: Store,
        settings: BrokerSettings,
        events: EventStream,
        agenda: Agenda,
        unix_time: Callable[[], float],
    ) -> None:
        self.functions: dict[bytes, Function] = {}
        self.jobs: dict[bytes, Job] = {}
        #: Sessions for which packets have been left since the listener last looked.
        self.touched: set[Session] = set()
        #: The return of stored jobs, while it goes on.
        self.replay: Replay | None = None
        #: The monotonic time as last handed to the broker.
        self.now = 0.0
        self.events = events
        self.agenda = agenda
        self.durability = Durability(store, self)
        self.unix_time = unix_time
        self.dead_letters = DeadLetters(store, settings.dead_letters, agenda, events, unix_time)
        self.results = ResultKeeping(self, store, settings.results, agenda, events, unix_time)
        self.epoch_timer = EpochTimer(agenda, unix_time, self._release_delayed)
        self._retry_timer = RetryTimer(agenda, self._release_delayed)
        self.throttling = Throttling(self, agenda)
        self._next_number = store.next_number
        self._handle_format = cut_handle_prefix(settings.handle_prefix).replace(b"%", b"%%") + b":%d"
        self.policies = Policies(settings.job_retries)
        self._counts_jobs = False
        self._function_bound = FunctionBound(self)
        self.wake_up = WakeUp(agenda, self.touched, settings.worker_wakeup)

    # --- functions

    def function(self, name: bytes, *, is_promised: bool = False) -> Function:
        """The function of that name; it comes into existence when first named.

        Raises:
            RefusedError: no function can have that name, or there are too many; not where jobs are `is_promised`.
        """
        function = self.functions.get(name)
        if function is None:
            check_function_name(name)
            if not is_promised:
                self._function_bound.make_room_for(name)
            function = self.functions[name] = Function(name, self.policies.of(name))
            if self._counts_jobs:
                function.counts = no_counts()
            if self.replay is not None:
                self.replay.prepare(function)
        return function

    def count_jobs(self) -> None:
        """From now on it is counted what becomes of jobs (`Function.counts`)."""
        self._counts_jobs = True
        for function in self.functions.values():
            function.counts = function.counts or no_counts()

    def use_policies(self, by_function: Mapping[bytes, FunctionPolicy]) -> None:
        """From now on these rules hold. A job that is running keeps the deadline it was given."""
        self.policies = replace(self.policies, by_function=by_function)
        for function in self.functions.values():
            function.use_policy(self.policies.of(function.name))
            if function.takeable:
                self.wake(function, function.takeable)  # the looks that a throttle had planned ended with it
        self.results.note_policies()

    def drop_function(self, function: Function) -> None:
        """Forget a function, cancelling what waits for it. It must have no workers and no running job."""
        if any(function.delayed) or self.replay is not None:  # some are in no queue, or behind what is unread
            waiting = [job for job in self.jobs.values() if job.function is function and job.is_waiting]
        else:
            waiting = [job for queue in function.queues for job in queue if job.state is QUEUED]
        for job in waiting:
            self.drop(job, "its function was dropped")
        del self.functions[function.name]

    def shrink(self) -> None:
        """Make indexes smaller that are large for what is in them: a dictionary keeps its size when it is emptied."""
        _shrink(self.jobs)
        for function in self.functions.values():
            _shrink(function.by_key)

    # --- a job's life

    def create(
        self, function: Function, unique: bytes, workload: bytes, priority: int, key: CoalescingKey | None
    ) -> Job:
        """A new job, in no queue yet: the caller appends it to its own or has it `delay`ed, answers, and wakes workers.

        `key` is its `coalescing_key`, which no other job of the function has.
        """
        handle = self._handle_format % self._next_number()
        job = self.jobs[handle] = Job(handle, function, unique, workload, priority, self.now)
        if key is not None:
            function.by_key[key] = job
        return job

    def delay(self, job: Job, run_at: int, now: float) -> None:
        """The job, which is in no queue, enters its queue at that time (Unix seconds)."""
        job.state = JobState.DELAYED
        job.with_extras().run_at = run_at
        job.function.delayed[job.priority] += 1
        self.epoch_timer.add(job, run_at, now)

    def _release_delayed(self, job: Job) -> None:
        """The job's time has come."""
        job.function.delayed[job.priority] -= 1
        if job.history is not None:
            job.history.not_before = None
        self.enqueue(job)
        self.events.emit(JobDue(job.handle, job.function.name))

    def put_back(self, job: Job, wait_s: float = 0.0) -> None:
        """A job that no worker has any longer is to have another attempt, at the tail of its queue, after that wait."""
        if job.extras is not None:
            job.extras.progress = job.extras.recording = None
        if wait_s > 0:
            self.await_retry(job, self.now + wait_s)
        else:
            self.enqueue(job)
        if job.record is not None:
            self.durability.job_changed(job)

    def await_retry(self, job: Job, due: float) -> None:
        """The job, which is in no queue, enters its queue at that time (monotonic seconds)."""
        job.state = JobState.DELAYED
        job.function.delayed[job.priority] += 1
        self._retry_timer.add(job, due)

    def enqueue(self, job: Job) -> None:
        """The job, which is in no queue, goes to the tail of its own."""
        job.state = QUEUED
        job.since = self.now
        job.function.queues[job.priority].append(job)
        self.wake(job.function)

    def listen(self, session: Session, job: Job) -> None:
        """Have the session told of the job's progress and end."""
        job.listeners = [*job.listeners, session] if job.listeners else (session,)
        session.listening.add(job)

    def wake(self, function: Function, jobs: int = 1) -> None:
        """Jobs of the function entered its queue: sleepers hear of them."""
        if not function.sleepers:
            return
        if function.throttle is None:
            self.wake_up.wake(function, jobs)
        else:
            self.throttling.wake(function)

    def tell(self, job: Job, packet: bytes) -> None:
        """One packet to everybody who listens to the job, in the order in which they came."""
        touched = self.touched
        for listener in job.listeners:
            listener.reply(packet)
            touched.add(listener)

    def end(self, job: Job) -> None:
        """The job is over: out of every index. Its worker, if it had one, has been taken care of by the caller."""
        job.state = ENDED
        del self.jobs[job.handle]
        if job.unique:
            self._forget_key(job)
        if job.listeners:
            for listener in job.listeners:
                listener.listening.discard(job)
            job.listeners = ()
        if job.record is not None:
            self.durability.job_ended(job)

    def release_worker(self, job: Job) -> None:
        """The job no longer belongs to the worker that had it."""
        worker = job.worker
        if worker is not None:
            worker.assigned.pop(job.handle, None)
            worker.done_at = self.now
            job.worker = None
            if job.extras is not None:
                job.extras.deadline = None
            function = job.function
            function.running -= 1
            if function.throttle is not None:
                self.throttling.freed.add(function)

    def _discard(self, job: Job, reason: str) -> None:
        self.end(job)
        self.events.emit(JobDropped(job.handle, job.function.name, reason, job.priority))

    def drop(self, job: Job, reason: str) -> None:
        """A waiting job is not going to run: those who listen get WORK_FAIL."""
        was_delayed = job.state is JobState.DELAYED
        if job.function.keep_result_s is not None:
            self.results.end(job, Ending.FAILED, reason.encode())
        self.tell(job, forwarded(PacketType.WORK_FAIL, job.handle))
        self._discard(job, reason)
        job.workload = b""  # the tombstone in the queue must not keep it
        if was_delayed:
            job.function.delayed[job.priority] -= 1
            awaits_retry = job.history is not None and job.history.not_before is not None
            (self._retry_timer if awaits_retry else self.epoch_timer).note_dropped()
        else:
            job.function.queues[job.priority].bury()

    def cancel(self, job: Job) -> None:
        """Cancel it. A running one stays with its worker, who is not told, but nobody hears of its outcome."""
        if job.is_waiting:
            self.drop(job, "cancelled")
            return
        self.tell(job, forwarded(PacketType.WORK_FAIL, job.handle))
        for listener in job.listeners:
            listener.listening.discard(job)
        job.listeners = ()
        if job.function.keep_result_s is not None and job.state is not JobState.CANCELLED:
            self.results.end(job, Ending.FAILED, b"cancelled while it ran")
        job.state = JobState.CANCELLED
        self._forget_key(job)
        if job.record is not None:
            self.durability.job_ended(job)
        self.events.emit(JobDropped(job.handle, job.function.name, "cancelled while it ran", job.priority))

    def stop_listening(self, session: Session) -> None:
        """The session is gone. A queued job that nobody else wants goes with it; a running one goes on."""
        for job in session.listening:
            job.listeners = [listener for listener in job.listeners if listener is not session]
            if job.is_waiting and not job.is_wanted:
                self.drop(job, "abandoned by its clients")
        session.listening.clear()

    def _forget_key(self, job: Job) -> None:
        key = coalescing_key(job.unique, job.workload)
        # A job that was cancelled while it ran has given up its key, and another job may have it by now.
        if key is not None and job.function.by_key.get(key) is job:
            del job.function.by_key[key]


def _shrink(index: dict[Key, Job]) -> None:
    if getsizeof(index) <= max(_SMALL_INDEX_BYTES, len(index) * _SPARSE_BYTES_PER_JOB):
        return
    kept = dict(index)
    index.clear()
    index.update(kept)


def cut_handle_prefix(prefix: bytes) -> bytes:
    """The prefix, cut so that a handle stays within the protocol's bound with any 64-bit number behind it."""
    return prefix.replace(b"\0", b"")[: MAX_HANDLE_BYTES - 1 - len(":") - len(str(2**63))]


def check_function_name(name: bytes) -> None:
    """Whether a function can have that name.

    Raises:
        RefusedError: it can't.
    """
    if not name:
        raise RefusedError(b"INVALID_FUNCTION_NAME", b"The function name is empty")
    if len(name) > MAX_FUNCTION_BYTES:
        raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Function name too large")
    if _UNPRINTABLE.search(name):
        raise RefusedError(b"INVALID_FUNCTION_NAME", b"The function name holds a control character")
