"""Background jobs that follow from something: they are submitted whatever the limits say, and are not given out before
they are written. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.jobs.events import JobCoalesced, JobQueued
from gearman_server.jobs.job import Job, coalescing_key, extras_of
from gearman_server.options.reading import read_options

if TYPE_CHECKING:
    from gearman_server.ending.expiry import Expiry
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable


class OwedJobs:
    """Submits jobs for the server itself."""

    def __init__(self, functions: Functions, table: JobTable, life: JobLife, expiry: Expiry) -> None:
        self._functions = functions
        self.table = table
        self.life = life
        self._durability = life.durability
        self._expiry = expiry
        self.agenda = life.agenda
        self.events = life.events

    def take_handles(self, number: int) -> list[bytes]:
        """Handles for so many jobs.

        Raises:
            RefusedError: the store gives no numbers now.
        """
        return [self.table.new_handle() for _ in range(number)]

    def submit(self, handle: bytes, name: bytes, unique: bytes, workload: bytes, pairs: bytes) -> tuple[Job, bool]:
        """Submit a job of a function that can have that name, with options that were read before. If its unique key is
        known, that job is the one. Returns the job, and whether it is new."""
        agenda = self.agenda
        now = agenda.now
        function = self._functions.by_name.get(name) or self._functions.create(name, is_promised=True)
        key = coalescing_key(unique, workload)
        known = None if key is None else self.table.find_by_key(function, key)
        if known is not None:
            known.is_background = True
            self._durability.owe(known)
            self.events.emit(JobCoalesced(known.handle, name))
            return known, False
        options = read_options(pairs)
        job = Job(handle, function, unique, workload, options.queue, now)
        job.is_background = True
        self.table.jobs[handle] = job
        if key is not None:
            self.table.add_key(key, job)
        job.extras = extras_of(options)
        expires_at = options.expires_at
        if options.expires_in_s is not None:
            expires_at = agenda.unix_time() + options.expires_in_s
        if expires_at is not None:
            self._expiry.start(job, expires_at, now)
        self._durability.owe(job)
        run_at = options.at if options.delay_s is None else agenda.unix_time() + options.delay_s
        if run_at is None or not self.life.delay_until(job, run_at, now):
            self.life.enter(job)
        if function.counts is not None:
            function.counts[job.priority].submitted += 1
        if self.events.wants_jobs:
            self.events.emit(JobQueued(handle, name))
        return job, True
