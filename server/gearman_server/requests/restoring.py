"""Jobs that come back with their old handles: from the store, and from the dead letters. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gearman_server.errors import RefusedError
from gearman_server.jobs.job import WRITTEN, Job, JobHistory, coalescing_key

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.attempts import Attempts
    from gearman_server.jobs.dead_letters import DeadLetter, DeadLetters
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import StoredJob


class Restoring:
    """Turns rows of the store into jobs again."""

    def __init__(
        self, functions: Functions, table: JobTable, life: JobLife, attempts: Attempts, agenda: Agenda
    ) -> None:
        self._functions = functions
        self._table = table
        self._life = life
        self._attempts = attempts
        self._agenda = agenda

    def restore(self, stored: StoredJob, now: float) -> Job | None:
        """Create the job. It is delayed if its time has not come, else in no queue yet. None: it has had its attempts.

        Raises:
            RefusedError: its function's name can't be used, or its handle belongs to another job.
        """
        if stored.handle in self._table.jobs:
            raise RefusedError(b"", b"its handle belongs to another job")
        name = stored.function
        function = self._functions.by_name.get(name) or self._functions.create(name, is_promised=True)
        job = Job(stored.handle, function, stored.unique, stored.workload, stored.priority, now)
        self._table.jobs[stored.handle] = job
        job.record = WRITTEN
        _complete(job, stored, now, self._agenda.unix_time())
        if stored.failures or stored.requeues:
            history = job.with_extras().history = JobHistory(job.submitted)
            history.failures, history.losses = stored.failures, stored.requeues
            history.error = stored.error or b""
        key = coalescing_key(job.unique, job.workload)
        if key is not None:
            self._table.add_key(key, job)
        self._await_its_time(job, stored.run_at, now)
        return None if stored.was_running and not self._attempts.lose_server(job) else job

    def _await_its_time(self, job: Job, run_at: float | None, now: float) -> None:
        wait_s = run_at - self._agenda.unix_time() if run_at is not None else 0.0
        if run_at is None or wait_s <= 0:
            return
        if job.history is None:
            self._life.delay(job, int(run_at), now)
        else:
            job.history.not_before = run_at
            self._life.await_retry(job, now + wait_s)


class Revival:
    """Queues dead jobs again, as if there had been no attempt yet."""

    def __init__(
        self,
        functions: Functions,
        table: JobTable,
        life: JobLife,
        durability: Durability,
        dead_letters: DeadLetters,
        agenda: Agenda,
    ) -> None:
        self._functions = functions
        self._table = table
        self._life = life
        self._durability = durability
        self._dead_letters = dead_letters
        self._agenda = agenda

    @property
    def obstacle(self) -> bytes | None:
        """Why no job can be revived now; None if jobs can."""
        if self._durability.trouble is not None:
            return b"The store can't be written now"
        if self._functions.unread.is_reading:  # an unread job may have the unique key
            return b"Jobs are still coming back from the store"
        return None

    def revive(self, letter: DeadLetter) -> bool:
        """Queue the letter's job. False: another job has its handle or its unique key now, so the letter stays."""
        name, now = letter.function, self._agenda.now
        function = self._functions.by_name.get(name) or self._functions.create(name, is_promised=True)
        key = coalescing_key(letter.unique, letter.workload)
        if letter.handle in self._table.jobs or (key and self._table.find_by_key(function, key) is not None):
            return False
        job = Job(letter.handle, function, letter.unique, letter.workload, letter.priority, now)
        self._table.jobs[letter.handle] = job
        _complete(job, letter, now, self._agenda.unix_time())
        if key is not None:
            self._table.add_key(key, job)
        if self._durability.is_durable:
            self._durability.insert(job, partial(self._keep_unless, letter))
        self._life.enter(job)
        self._dead_letters.revived(letter)
        return True

    def _keep_unless(self, letter: DeadLetter, is_stored: bool) -> None:
        """Keep the letter after all, unless the job was written."""
        if not is_stored:
            self._dead_letters.put(letter, self._agenda.now)


def _complete(job: Job, kept: StoredJob | DeadLetter, now: float, unix_now: float) -> None:
    job.is_background = True
    if kept.reducer is not None:
        job.with_extras().reducer = kept.reducer
    job.submitted = now - max(0.0, unix_now - kept.submitted_at)
