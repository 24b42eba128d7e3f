"""A function: its three queues, the workers registered for it, the sleepers among them, its limits. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gearman_server.compiled.python_class import python_class
from gearman_server.jobs.job import PRIORITIES, QUEUED, Job
from gearman_server.jobs.job_counts import JobCounts
from gearman_server.jobs.throttle import Throttle

if TYPE_CHECKING:
    from gearman_server.jobs.policies import FunctionPolicy
    from gearman_server.jobs.session import BatchRule, Session


@python_class
class JobQueue(deque[Job]):
    """Waiting jobs of one function and priority, in order.

    A job that is cancelled or abandoned while it waits stays in place as a tombstone, because taking it out of the
    middle would cost a walk. The queue is compacted before tombstones can outnumber the living.
    It is a deque rather than a class that holds one, so that `append` and the test for emptiness stay at C speed.
    """

    tombstones = 0
    #: The number of jobs that were looked up for a request before their turn: they are in memory, but not queued.
    ahead = 0
    #: Whether all older jobs are in here: not while stored jobs come back.
    is_read = True
    #: Whether keys take turns in it, or hold jobs back (the room `keys`).
    is_keyed = False
    #: Whether its durable jobs are withheld (the room `cluster`).
    is_lapsed = False

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) - self.tombstones

    @property
    def takeable(self) -> int:
        """How many of the jobs can be taken now: all of them, except while stored jobs come back."""
        return max(0, len(self) - self.tombstones)

    def take(self) -> Job | None:
        """The job that has waited longest, taken out of the queue."""
        while self:
            job = self.popleft()
            if job.state is QUEUED:
                return job
            self.tombstones -= 1
        return None

    def peek(self) -> Job | None:
        """The job that would be taken next, left in its place."""
        self.drop_tombstones_at_head()
        return self[0] if self else None

    def withdraw(self, jobs: Collection[Job]) -> None:
        """Take out these jobs, which are in here and came lately: the queue is walked from its tail."""
        left, kept = len(jobs), list[Job]()
        while left and self:
            job = self.pop()
            if job in jobs:
                left -= 1
            else:
                kept.append(job)
        self.extend(reversed(kept))

    def drop_tombstones_at_head(self) -> None:
        """Drop jobs that have ended until the first one is alive, or the queue is empty."""
        while self and self[0].state is not QUEUED:
            self.popleft()
            self.tombstones -= 1

    def bury(self, _job: Job) -> None:
        """Note that this job, which is in here, has just ended."""
        self.tombstones += 1
        self.drop_tombstones_at_head()  # a purge begins at the head: else it would compact half a million jobs at once
        if self.tombstones * 2 > len(self):
            living = [job for job in self if job.state is QUEUED]
            self.clear()
            self.extend(living)
            self.tombstones = 0

    def restore(self, job: Job) -> None:
        """Queue the next of the unread jobs."""
        deque.append(self, job)

    def as_read(self) -> JobQueue:
        """The queue of the same jobs for when everything has been read."""
        return self

    def as_regained(self) -> JobQueue:
        """The queue of the same jobs for when none of them is withheld."""
        return self


@python_class
class ReplayQueue(JobQueue):
    """A queue whose older jobs are not all read yet: it holds the jobs that were read, and apart from them new ones."""

    is_read = False

    def __init__(self) -> None:
        super().__init__()
        self.behind: JobQueue = JobQueue()

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) + len(self.behind) + self.ahead - self.tombstones

    def append(self, job: Job) -> None:
        """Queue a new job, or one that is to run again, behind all unread ones."""
        self.behind.append(job)

    def withdraw(self, jobs: Collection[Job]) -> None:
        """Take out these jobs, which came lately."""
        self.behind.withdraw(jobs)

    def bury(self, _job: Job) -> None:
        """Note that this job has just ended; it may not be queued yet."""
        self.tombstones += 1

    def as_read(self) -> JobQueue:
        """An ordinary queue of the same jobs, for when everything has been read."""
        queue = JobQueue(self)
        queue.extend(self.behind)
        queue.tombstones = self.tombstones
        return queue


def take_out(job: Job) -> None:
    """Take a job out of its queue. It is quick only near the head."""
    queue = job.function.queues[job.priority]
    if not (queue.is_keyed or queue.is_lapsed):
        with suppress(ValueError):
            queue.remove(job)
            return
    queue.withdraw({job})


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Limits above which submissions are refused. 0 = no limit.

    The operator's limits by priority count all jobs, including running ones; the policy's limit counts waiting jobs.
    """

    high: int = 0
    normal: int = 0
    low: int = 0
    waiting: int = 0

    def of(self, priority: int) -> int:
        """The limit for submissions of one priority."""
        return (self.high, self.normal, self.low)[priority]


class Function:
    """One function name, with its queues, workers and rules."""

    __slots__ = (
        "batches",
        "broad_workers",
        "counts",
        "delayed",
        "keep_result_s",
        "limits",
        "name",
        "policy",
        "queues",
        "running",
        "sleepers",
        "throttle",
        "waiting_elsewhere",
        "woken",
        "workers",
    )

    def __init__(self, name: bytes, policy: FunctionPolicy) -> None:
        self.name = name
        self.queues = (JobQueue(), JobQueue(), JobQueue())
        #: The number of jobs of each priority that wait for their time, or for their insert, outside the queues.
        self.delayed = [0, 0, 0]
        self.running = 0
        self.workers: set[Session] = set()
        #: The rules of those workers that want batches of it; None: there are none.
        self.batches: dict[Session, BatchRule] | None = None
        #: Those of the workers that have very many functions, whether they sleep or not; None: there were never any.
        self.broad_workers: dict[Session, None] | None = None
        #: Registered workers with few functions that wait for a NOOP, the one that has slept longest first.
        self.sleepers: OrderedDict[Session, None] = OrderedDict()
        #: Workers that were woken for a job of this function and have yet to ask for it.
        self.woken: set[Session] = set()
        #: None: no submission is refused.
        self.limits: QueueLimits | None = None
        #: How many of its jobs wait in the other servers of a cluster, as they have told last.
        self.waiting_elsewhere = 0
        #: None: any job may be started at any time, and failures need not be counted.
        self.throttle: Throttle | None = None
        #: Counts of its jobs' fates, by priority; None while nobody reads them.
        self.counts: tuple[JobCounts, ...] | None = None
        self.use_policy(policy)

    def count_jobs(self) -> None:
        """From now on, count how its jobs fare."""
        self.counts = self.counts or tuple(JobCounts() for _ in PRIORITIES)

    def use_policy(self, policy: FunctionPolicy) -> None:
        """From now on, follow these rules."""
        self.policy = policy
        #: How long results of background jobs are kept; None = not at all.
        self.keep_result_s = policy.keep_result_s
        self._use(Throttle(policy, self.throttle))
        self._limit(replace(self.limits or QueueLimits(), waiting=policy.max_queue or 0))

    @property
    def paused_since(self) -> float | None:
        """Since when an operator lets none of its jobs start (Unix seconds); None: it is not paused."""
        return None if self.throttle is None else self.throttle.paused_since

    def pause(self, since: float | None) -> None:
        """Start none of its jobs from now on; None: start them again."""
        throttle = self.throttle or Throttle(self.policy, None)
        throttle.paused_since = since
        self._use(throttle)

    def hold_until(self, time: float) -> None:
        """Start none of its jobs before that time (monotonic seconds)."""
        throttle = self.throttle or Throttle(self.policy, None)
        throttle.held_until = time
        self._use(throttle)

    def _use(self, throttle: Throttle) -> None:
        self.throttle = throttle if throttle.is_needed else None

    def limit_queue(self, high: int, normal: int, low: int) -> None:
        """Set the operator's limits; the policy's limit stays in force beside them."""
        self._limit(replace(self.limits or QueueLimits(), high=high, normal=normal, low=low))

    def _limit(self, limits: QueueLimits) -> None:
        self.limits = limits if limits != QueueLimits() else None

    @property
    def queued(self) -> int:
        """How many of its jobs are in its queues."""
        high, normal, low = self.queues
        return high.waiting + normal.waiting + low.waiting

    @property
    def waiting_since(self) -> float | None:
        """Since when the job has waited that entered its queue first (monotonic seconds); None if all are empty."""
        heads = [queue.peek() for queue in self.queues]
        return min((job.since for job in heads if job is not None), default=None)

    def startable(self, now: float) -> int:
        """How many of its jobs could be given to workers now."""
        return self.takeable if self.throttle is None else self.throttle.room(self.running, self.takeable, now)

    @property
    def takeable(self) -> int:
        """How many of its jobs could be taken from its queues now if there were no throttle."""
        high, normal, low = self.queues
        return high.takeable + normal.takeable + low.takeable

    @property
    def waiting(self) -> int:
        """How many of its jobs wait for a worker or for their time."""
        return self.queued + sum(self.delayed)

    @property
    def total(self) -> int:
        """How many jobs it has, waiting and running."""
        return self.waiting + self.running

    def has_job_for_a_worker(self, now: float) -> bool:
        """Whether a worker that grabbed now would be given a job."""
        if self.throttle is not None and not self.throttle.admits(self.running, now):
            return False
        for queue in self.queues:  # no generator: see `WakeUp._sleepers`
            if queue:
                job = queue.peek()
                if job is not None:
                    return True
        return False

    def is_full_for(self, priority: int) -> bool:
        """Whether its limits refuse one more job of that priority."""
        limits = self.limits or QueueLimits()
        return 0 < limits.of(priority) <= self.total or 0 < limits.waiting <= self.waiting + self.waiting_elsewhere
