"""Jobs that come back with their old handles: from the store, and from the dead letters. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gearman_server.errors import RefusedError
from gearman_server.jobs.events import JobRevived, StopOutcome
from gearman_server.jobs.job import HELD, WRITTEN, Job, JobHistory, JobRecord, coalescing_key, extras_of
from gearman_server.options.job_options import cut_cursor
from gearman_server.options.reading import read_options

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.dead_letters import DeadLetter, DeadLetters
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import StoredJob
    from gearman_server.options.job_options import SubmissionOptions
    from gearman_server.sequels.job_batches import JobBatches


class Restoring:
    """Turns rows of the store into jobs again."""

    def __init__(
        self,
        functions: Functions,
        table: JobTable,
        life: JobLife,
        attempts: Attempts,
        batches: JobBatches,
        agenda: Agenda,
    ) -> None:
        self.functions = functions
        self._table = table
        self._life = life
        self._attempts = attempts
        self._batches = batches
        self._agenda = agenda

    def restore(self, stored: StoredJob, now: float) -> Job | None:
        """Create the job. It is delayed if its time has not come, else in no queue yet. None: it is over, since it was
        stopped, or cancelled with its batch.

        The loss of one that was running is counted already; whether a worker has it still is for `Doubts` to say.

        Raises:
            RefusedError: its function's name or its options can't be used, or its handle belongs to another job.
        """
        if stored.handle in self._table.jobs:
            raise RefusedError(b"", b"its handle belongs to another job")
        name = stored.function
        options = read_options(stored.options or b"")
        function = self.functions.by_name.get(name) or self.functions.create(name, is_promised=True)
        job = Job(stored.handle, function, stored.unique, stored.workload, stored.priority, now)
        self._table.jobs[stored.handle] = job
        job.record = WRITTEN
        _complete(job, stored, options, now, self._agenda.unix_time())
        is_cancelled = options.job is not None and self._batches.rejoin(options.job.batch)
        if stored.cursor is not None:
            job.with_extras().cursor = stored.cursor
        if options.expires_at is not None:
            self._attempts.expiry.start(job, options.expires_at, now)
        if stored.failures or stored.requeues:
            history = job.with_extras().history = JobHistory(job.submitted)
            history.failures, history.losses = stored.failures, stored.requeues
            history.error = stored.error or b""
        if stored.was_stopped:
            self._life.end_stopped(job, StopOutcome.SERVER_ENDED)
            return None
        if is_cancelled:
            self._life.give_up(job, "cancelled")
            return None
        key = coalescing_key(job.unique, job.workload)
        has_begun = stored.was_running or job.history is not None
        is_free = has_begun and options.job is not None and options.job.is_unique_until_start
        if key is not None and not is_free:
            self._table.add_key(key, job)
            self._life.durability.share_key(job)
        self._await_its_time(job, stored.run_at, now)
        return job

    def _await_its_time(self, job: Job, run_at: float | None, now: float) -> None:
        wait_s = run_at - self._agenda.unix_time() if run_at is not None else 0.0
        if run_at is None or wait_s <= 0:
            return
        if job.history is None:
            self._life.delay(job, run_at, now)
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
        self.durability = durability
        self._dead_letters = dead_letters
        self._agenda = agenda

    @property
    def obstacle(self) -> bytes | None:
        """Why no job can be revived now; None if jobs can."""
        if self.durability.trouble is not None:
            return b"The store can't be written now"
        if self._functions.unread.is_reading:  # an unread job may have the unique key
            return b"Jobs are still coming back from the store"
        return None

    def revive(self, letter: DeadLetter) -> bool:
        """Queue the letter's job. False: another job has its handle or its unique key now, so the letter stays."""
        job = self._job_of(letter)
        if job is None:
            return False
        key = coalescing_key(job.unique, job.workload)
        if key is not None:
            self._table.add_key(key, job)
        if self.durability.is_durable:
            self.durability.insert(job, partial(self._keep_unless, letter))
        self._life.enter(job)
        self._dead_letters.revived(letter)
        return True

    def prepare(self, letter: DeadLetter, insert: Callable[[Job], None], tell: Callable[[bool], None]) -> bool:
        """Have the letter's job inserted by `insert`, if no other server revives it; it is queued after that. `tell`
        gets whether it was. False: as by `revive`."""
        job = self._job_of(letter)
        if job is None:
            return False
        self._life.hold(job)
        job.record = JobRecord()
        insert(job)
        self.durability.when_known(job, partial(self._note_prepared, job, tell))
        return True

    def _note_prepared(self, job: Job, tell: Callable[[bool], None], is_stored: bool) -> None:
        if is_stored and job.state is HELD:
            key = coalescing_key(job.unique, job.workload)
            if key is not None:
                self._table.add_key(key, job)
            self._life.events.emit(JobRevived(job.handle, job.function.name, job.priority))
        tell(is_stored)

    def _job_of(self, letter: DeadLetter) -> Job | None:
        name, now = letter.function, self._agenda.now
        function = self._functions.by_name.get(name) or self._functions.create(name, is_promised=True)
        key = coalescing_key(letter.unique, letter.workload)
        if letter.handle in self._table.jobs or (key and self._table.find_by_key(function, key) is not None):
            return None
        job = Job(letter.handle, function, letter.unique, letter.workload, letter.priority, now)
        self._table.jobs[letter.handle] = job
        pairs, cursor = cut_cursor(letter.options)
        _complete(job, letter, read_options(pairs), now, self._agenda.unix_time())
        if cursor is not None:
            job.with_extras().cursor = cursor
        if key is not None:
            self.durability.share_key(job)
        return job

    def _keep_unless(self, letter: DeadLetter, is_stored: bool) -> None:
        """Keep the letter after all, unless the job was written."""
        if not is_stored:
            self._dead_letters.put(letter, self._agenda.now)


def _complete(job: Job, kept: StoredJob | DeadLetter, options: SubmissionOptions, now: float, unix_now: float) -> None:
    job.is_background = True
    job.extras = extras_of(options)
    if kept.reducer is not None:
        job.with_extras().reducer = kept.reducer
    job.submitted = now - max(0.0, unix_now - kept.submitted_at)
