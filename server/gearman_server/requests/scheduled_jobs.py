"""Submits the jobs of schedules. Pure.

If other servers have the same schedules, a job is prepared: it is inserted, but it is neither given out nor known by
its unique key before it is certain that the run is ours.

Each job has a tag that names its schedule, so that whoever keeps finished jobs knows how its runs ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_client.job_pairs import MAX_TAG_BYTES
from gearman_server.jobs.job import HELD, Job, coalescing_key, extras_of
from gearman_server.jobs.schedule_rules import TAG_PREFIX
from gearman_server.options.reading import OptionsReader

if TYPE_CHECKING:
    from gearman_server.jobs.job import Extras
    from gearman_server.jobs.schedule_rules import ScheduleRule
    from gearman_server.requests.submissions import Submissions


class ScheduledJobs:
    """Submits background jobs by rules."""

    def __init__(self, submissions: Submissions) -> None:
        self._submissions = submissions
        self._table, self._life = submissions.table, submissions.life
        self._prepared: set[Job] = set()
        self._options = OptionsReader()

    def submit(self, rule: ScheduleRule, now: float) -> Job:
        """Submit a job, or join the one that has the unique key.

        Raises:
            RefusedError: the function's queue is full, or its name can't be used.
        """
        plain = b"\0".join((rule.function, rule.unique, rule.workload))
        job = self._submissions.background[rule.priority](None, plain, now, extras=self._extras(rule))
        assert job is not None  # without a session it would have been refused
        return job

    def prepare(self, rule: ScheduleRule, now: float) -> Job:
        """Submit a job that is to be entered or withdrawn later. A job that has the unique key is joined at once.

        Raises:
            RefusedError: the function's queue is full, or its name can't be used.
        """
        functions, name = self._submissions.functions, rule.function
        function = functions.by_name.get(name) or functions.create(name)
        key = coalescing_key(rule.unique, rule.workload)
        is_known = key is not None and self._table.find_by_key(function, key) is not None
        if is_known or (name, rule.unique) in self._table.outlived:
            return self.submit(rule, now)
        if function.limits is not None and function.is_full_for(rule.priority):
            return self.submit(rule, now)  # it is refused there
        job = self._table.create(function, rule.unique, rule.workload, rule.priority, None, now)
        job.is_background = True
        job.extras = self._extras(rule)
        if key is not None:
            self._submissions.durability.share_key(job)
        self._life.hold(job)
        self._submissions.durability.acknowledge(None, job)
        self._prepared.add(job)
        return job

    def _extras(self, rule: ScheduleRule) -> Extras | None:
        """The tag of its jobs; a name that is too long for one makes none."""
        tag = TAG_PREFIX + rule.name.encode()
        return extras_of(self._options.read(b"tag=" + tag)) if len(tag) <= MAX_TAG_BYTES else None

    def is_prepared(self, job: Job) -> bool:
        """Whether the job is neither entered nor withdrawn."""
        return job in self._prepared

    def enter(self, job: Job) -> None:
        """It is ours: it is given out once the store says that it is written, which is the next that it says."""
        self._prepared.discard(job)
        if job.state is not HELD:
            return  # it was cancelled meanwhile
        key = coalescing_key(job.unique, job.workload)
        if key is not None:
            self._table.add_key(key, job)
        self._submissions.announce(job)

    def withdraw(self, job: Job) -> None:
        """It is another server's: nobody has heard of it here."""
        self.forget(job)
        if job.state is HELD:
            self._submissions.durability.withdraw(job)
            self._life.let_go(job)

    def forget(self, job: Job) -> None:
        """It was dropped."""
        self._prepared.discard(job)
