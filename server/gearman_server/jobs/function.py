"""A function: its three queues, the workers registered for it, the sleepers among them, its limits. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gearman_server.jobs.job import PRIORITIES, QUEUED, Job
from gearman_server.jobs.job_counts import JobCounts
from gearman_server.jobs.throttle import Throttle

if TYPE_CHECKING:
    from gearman_server.jobs.job import CoalescingKey
    from gearman_server.jobs.policies import FunctionPolicy
    from gearman_server.jobs.session import Session


class JobQueue(deque[Job]):
    """Waiting jobs of one function and priority, in order.

    A job that is cancelled or abandoned while it waits stays in place as a tombstone, because taking it out of the
    middle would cost a walk; the queue is compacted before tombstones can outnumber the living.
    A deque itself rather than a class holding one: `append` and the test for emptiness stay at C speed.
    """

    tombstones = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) - self.tombstones

    @property
    def takeable(self) -> int:
        """How many of them can be taken now: all, but while stored jobs come back."""
        return max(0, len(self) - self.tombstones)

    def take(self) -> Job | None:
        """The job that has waited longest, taken out of the queue."""
        while self:
            job = self.popleft()
            if job.state is QUEUED:
                return job
            self.tombstones -= 1
        return None

    def drop_tombstones_at_head(self) -> None:
        """After this the queue is empty, or its first job is alive."""
        while self and self[0].state is not QUEUED:
            self.popleft()
            self.tombstones -= 1

    def bury(self) -> None:
        """One of the jobs in here has just ended."""
        self.tombstones += 1
        self.drop_tombstones_at_head()  # where a purge begins: otherwise it would compact half a million at once
        if self.tombstones * 2 > len(self):
            living = [job for job in self if job.state is QUEUED]
            self.clear()
            self.extend(living)
            self.tombstones = 0


class ReplayQueue(JobQueue):
    """A queue while older jobs for it are still unread: it holds those that were read, and the new ones apart."""

    def __init__(self) -> None:
        super().__init__()
        self.behind: JobQueue = JobQueue()
        #: Jobs that requests asked for before they were read: in memory, in no queue yet.
        self.ahead = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) + len(self.behind) + self.ahead - self.tombstones

    def append(self, job: Job) -> None:
        """A new job, or one that is to be run again: behind all that is unread."""
        self.behind.append(job)

    def restore(self, job: Job) -> None:
        """The next of the unread jobs."""
        super().append(job)

    def bury(self) -> None:
        """One of the jobs in here has just ended; it may be one that is in no queue yet."""
        self.tombstones += 1

    def as_read(self) -> JobQueue:
        """An ordinary queue of the same jobs: everything has been read."""
        queue = JobQueue(self)
        queue.extend(self.behind)
        queue.tombstones = self.tombstones
        return queue


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """When a submission is refused: the operator's limits by priority on all jobs, running ones too, and the policy's
    on those that wait. 0 = no limit."""

    high: int = 0
    normal: int = 0
    low: int = 0
    waiting: int = 0

    def of(self, priority: int) -> int:
        """The limit for submissions of one priority."""
        return (self.high, self.normal, self.low)[priority]


class Function:
    """One function name and everything the server knows under it."""

    __slots__ = (
        "by_key",
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
        "woken",
        "workers",
    )

    def __init__(self, name: bytes, policy: FunctionPolicy) -> None:
        self.name = name
        self.queues = (JobQueue(), JobQueue(), JobQueue())
        #: How many jobs of each priority wait for their time, outside the queues.
        self.delayed = [0, 0, 0]
        self.running = 0
        self.by_key: dict[CoalescingKey, Job] = {}
        self.workers: set[Session] = set()
        #: Registered workers that wait for a NOOP, the one that has slept longest first.
        self.sleepers: OrderedDict[Session, None] = OrderedDict()
        #: Workers that were woken for a job of this function and have yet to ask for it.
        self.woken: set[Session] = set()
        #: None while no submission is refused.
        self.limits: QueueLimits | None = None
        #: None while any job may be started at any time.
        self.throttle: Throttle | None = None
        #: What became of its jobs, by priority; None while nobody reads it.
        self.counts: tuple[JobCounts, ...] | None = None
        self.use_policy(policy)

    def count_jobs(self) -> None:
        """From now on it is counted what becomes of its jobs."""
        self.counts = self.counts or tuple(JobCounts() for _ in PRIORITIES)

    def use_policy(self, policy: FunctionPolicy) -> None:
        """From now on these rules hold."""
        self.policy = policy
        #: How long results of background jobs are kept; None: not at all.
        self.keep_result_s = policy.keep_result_s
        limited = policy.max_running is not None or policy.rate is not None
        self.throttle = Throttle(policy.max_running, policy.rate, self.throttle) if limited else None
        self._limit(replace(self.limits or QueueLimits(), waiting=policy.max_queue or 0))

    def limit_queue(self, high: int, normal: int, low: int) -> None:
        """The operator's limits; the policy's goes on holding beside them."""
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
        """When the job was queued that has been in its queue for longest (monotonic seconds); None: all are empty."""
        for queue in self.queues:
            queue.drop_tombstones_at_head()
        return min((queue[0].since for queue in self.queues if queue), default=None)

    def startable(self, now: float) -> int:
        """How many of its jobs workers that asked now would be given."""
        return self.takeable if self.throttle is None else self.throttle.room(self.running, self.takeable, now)

    @property
    def takeable(self) -> int:
        """How many of its jobs could be taken from its queues now, were there no throttle."""
        high, normal, low = self.queues
        return high.takeable + normal.takeable + low.takeable

    @property
    def waiting(self) -> int:
        """How many of its jobs wait, for a worker or for their time."""
        return self.queued + sum(self.delayed)

    @property
    def total(self) -> int:
        """How many jobs it has, waiting and running."""
        return self.waiting + self.running

    def has_job_for_a_worker(self, now: float) -> bool:
        """Whether a worker that grabbed now would be given a job."""
        if self.throttle is not None and not self.throttle.admits(self.running, now):
            return False
        for queue in self.queues:
            if queue:
                queue.drop_tombstones_at_head()
                if queue:
                    return True
        return False

    def is_full_for(self, priority: int) -> bool:
        """Whether its limit refuses one more job of that priority."""
        limits = self.limits or QueueLimits()
        return 0 < limits.of(priority) <= self.total or 0 < limits.waiting <= self.waiting
