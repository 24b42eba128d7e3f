"""What a batch claims before it inserts anything: runs of schedules, letters that are tried again, keys, batches.

Whoever else has them is first: then our job is not inserted. An earlier attempt of ours may have been committed though
nobody could say so; then the job is there, and it is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Connection, column, select, table

from gearman_server.sharing.batches import admit_jobs, finish_batches
from gearman_server.sharing.keys import change_keys, claim_keys, lock_keys
from gearman_server.sharing.letters import claim_letters
from gearman_server.sharing.schedule_runs import claim_run
from gearman_server.stores.batch import row_id
from gearman_server.stores.rows import JOBS

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.stores.batch import Batch

_jobs: Final = table(JOBS, column("id", BigInteger()), column("owner", BigInteger()))
#: Ids in one statement.
_MAX_IDS: Final = 500


def claim(connection: Connection, batch: Batch, inserts: Sequence[Job], owner: int) -> Sequence[Job]:
    """Claim everything. Returns the inserts that are left; the batch is told of the others."""
    lock_keys(connection, batch.key_rows, (job for job in inserts if job.extras is not None))
    if batch.key_rows:
        change_keys(connection, batch.key_rows)
    batch.lost_runs, batch.lost, batch.not_admitted = [], [], []
    if batch.runs:
        inserts = _claim_runs(connection, batch, inserts, owner)  # first: a run that is another server's has no key
    with_extras = [job for job in inserts if job.extras is not None]
    batch.known = claim_keys(connection, with_extras)
    in_batches = [job for job in with_extras if job.followed is not None]
    if not (batch.revived or batch.known or batch.finished or in_batches):
        return inserts
    left = dict.fromkeys(job for job in inserts if job not in batch.known)
    _drop_known_runs(batch)
    callbacks = [job for jobs in batch.finished.values() for job in jobs]
    claimed = dict.fromkeys([*batch.revived, *callbacks, *in_batches])
    ours = _ids_of_ours(connection, [row_id(job) for job in claimed if job in left], owner)
    _claim_letters(connection, batch, left, ours)
    if batch.finished:
        finish_batches(connection, batch, left, ours)
    if in_batches:
        admit_jobs(connection, batch, left, ours)
    return list(left)


def _claim_runs(connection: Connection, batch: Batch, inserts: Sequence[Job], owner: int) -> Sequence[Job]:
    left = dict.fromkeys(inserts)
    ours = _ids_of_ours(connection, [row_id(run.job) for run in batch.runs if run.job in left], owner)
    # In the order of their names: two servers that claim several don't wait for one another.
    for run in sorted(batch.runs, key=lambda run: run.name):
        if run.job is not None and (run.job not in left or row_id(run.job) in ours):
            continue  # it was dropped, or is committed already
        mark, is_ours = claim_run(connection, run)
        if not is_ours:
            batch.lost_runs.append((run, mark))
            if run.job is not None:
                del left[run.job]
    return list(left)


def _drop_known_runs(batch: Batch) -> None:
    """A due run whose unique key another job has is that job: its mark is written, and its own job is dropped."""
    for run in batch.runs:
        if run.due is not None and run.job is not None and batch.known.pop(run.job, None) is not None:
            batch.lost_runs.append((run, run.mark))


def _claim_letters(connection: Connection, batch: Batch, left: dict[Job, None], ours: set[int]) -> None:
    open_jobs = [job for job in batch.revived if job in left and row_id(job) not in ours]
    if not open_jobs:
        return
    claimed = claim_letters(connection, [row_id(job) for job in open_jobs])
    for job in open_jobs:
        if row_id(job) not in claimed:
            batch.lost.append(job)
            del left[job]


def _ids_of_ours(connection: Connection, ids: Sequence[int], owner: int) -> set[int]:
    found: set[int] = set()
    for at in range(0, len(ids), _MAX_IDS):
        query = select(_jobs.c.id).where(_jobs.c.owner == owner, _jobs.c.id.in_(ids[at : at + _MAX_IDS]))
        found.update(int(row[0]) for row in connection.execute(query))
    return found
