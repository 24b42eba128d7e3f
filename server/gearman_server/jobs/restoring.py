"""Jobs that come back with the handles they had: from the store, and from the dead letters. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.jobs.durability import WRITTEN
from gearman_server.jobs.events import JobRevived
from gearman_server.jobs.job import Job, JobHistory, coalescing_key

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import StoredJob


def restore(table: JobTable, stored: StoredJob, now: float) -> Job:
    """A job of an earlier run, which is in the store. It is in no queue yet, unless it has to wait for its time.

    Raises:
        RefusedError: its function's name can't be used.
    """
    function = table.function(stored.function, is_promised=True)
    job = Job(stored.handle, function, stored.unique, stored.workload, stored.priority, now)
    table.jobs[stored.handle] = job
    job.record = WRITTEN
    _complete(table, job, stored, now)
    if stored.failures or stored.requeues:
        history = job.with_extras().history = JobHistory(job.submitted)
        history.failures, history.losses = stored.failures, stored.requeues
        history.error = stored.error or b""
    key = coalescing_key(job.unique, job.workload)
    if key is not None:
        function.by_key.setdefault(key, job)
    _await_its_time(table, job, stored.run_at, now)
    return job


def revive(table: JobTable, letter: DeadLetter) -> bool:
    """A dead job is queued again, as if nothing had been tried yet.

    False: another job has its handle or its unique key now, so the letter stays.
    """
    function = table.function(letter.function, is_promised=True)
    key = coalescing_key(letter.unique, letter.workload)
    if letter.handle in table.jobs or key in function.by_key:
        return False
    job = Job(letter.handle, function, letter.unique, letter.workload, letter.priority, table.now)
    table.jobs[letter.handle] = job
    _complete(table, job, letter, table.now)
    if key is not None:
        function.by_key[key] = job
    if table.durability.is_durable:
        table.durability.store_revived(job, letter)
    table.dead_letters.take(letter.handle)
    table.enqueue(job)
    table.events.emit(JobRevived(job.handle, function.name, job.priority))
    return True


def _complete(table: JobTable, job: Job, kept: StoredJob | DeadLetter, now: float) -> None:
    job.background = True
    if kept.reducer is not None:
        job.with_extras().reducer = kept.reducer
    job.submitted = now - max(0.0, table.unix_time() - kept.submitted_at)


def _await_its_time(table: JobTable, job: Job, run_at: float | None, now: float) -> None:
    wait_s = run_at - table.unix_time() if run_at is not None else 0.0
    if run_at is None or wait_s <= 0:
        return
    if job.history is None:
        table.delay(job, int(run_at), now)
    else:
        job.history.not_before = run_at
        table.await_retry(job, now + wait_s)
