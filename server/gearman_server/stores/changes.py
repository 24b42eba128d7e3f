"""All changes to rows except inserts and deletes of jobs. It makes no transactions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gearman_server.jobs.job import Job
from gearman_server.jobs.store import number_of
from gearman_server.stores.batch import Batch, row_id
from gearman_server.stores.batches_table import delete_batches, write_batches
from gearman_server.stores.keys_table import delete_keys, write_keys
from gearman_server.stores.letters_table import forget_letters, write_letters
from gearman_server.stores.results_table import delete_results, write_results
from gearman_server.stores.rows import (
    JOBS,
    LOST,
    OWNER,
    RUNNING,
    STOPPED,
    changes_of,
    conditions,
    run_at_of,
    state_of,
)
from gearman_server.stores.small_tables import write_marks, write_pauses

_COUNT_LOSSES: Final = text(
    f"UPDATE {JOBS} SET state = {LOST}, requeues = requeues + 1 WHERE state = {RUNNING} AND owner = {OWNER}"
)
_CHANGE: Final = text(
    f"UPDATE {JOBS} SET state = :state, run_at = :run_at, requeues = :requeues, failures = :failures,"
    " last_error = :last_error WHERE id = :id AND owner = :owner"
)

_REWRITE: Final = text(f"UPDATE {JOBS} SET run_at = :run_at, workload = :workload WHERE id = :id AND owner = :owner")


def count_losses(connection: Connection) -> None:
    """Count the attempts that the last run's end broke off, before anything is served: a job that kills its server at
    once must run out of attempts, too.

    A database with a broken page can refuse; then the attempts count when the jobs are read, if they can be read.
    """
    try:
        connection.execute(_COUNT_LOSSES)
        connection.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        connection.rollback()


def change(connection: Connection, batch: Batch, owner: int, room_bytes: int | None = None) -> None:
    """Write a batch's changes to this owner's jobs, except inserts and deletes.

    The texts of a result or a letter may have `room_bytes`.
    """
    if batch.updates:
        _update(connection, batch.updates, owner)
    if batch.rewrites:
        _rewrite(connection, batch.rewrites, owner)
    if batch.lapsed:
        delete_keys(connection, batch.lapsed)
    if batch.remembered:
        write_keys(connection, list(batch.remembered))
    if batch.stops:
        _set_state(connection, STOPPED, [number_of(handle) for handle in batch.stops], owner)
    if batch.forgotten:
        forget_letters(connection, batch.forgotten)
    if batch.letters:
        write_letters(connection, batch.letters.values(), room_bytes)
    if batch.outdated:
        delete_results(connection, batch.outdated)
    if batch.results:
        write_results(connection, batch.results.values(), room_bytes)
    if batch.marks:
        write_marks(connection, batch.marks)
    if batch.pauses:
        write_pauses(connection, batch.pauses)
    write_batches(connection, batch.job_batches.values())
    delete_batches(connection, batch.forgotten_batches)


def _update(connection: Connection, updates: Mapping[Job, bool], owner: int) -> None:
    """Update rows. Most jobs were just given to a worker for the first time: one statement changes all of these."""
    jobs = [job for job, is_cursor_alone in updates.items() if not is_cursor_alone]
    by_state: dict[int, list[int]] = defaultdict(list)
    changes = []
    for job in jobs:
        if job.history is None:
            by_state[state_of(job)].append(row_id(job))
        else:
            changes.append({**changes_of(job), "owner": owner})
    for state, ids in by_state.items():
        _set_state(connection, state, ids, owner)
    if changes:
        connection.execute(_CHANGE, changes)


def _rewrite(connection: Connection, jobs: Iterable[Job], owner: int) -> None:
    """Update the rows of jobs that wait for another workload."""
    for job in jobs:
        values = {"run_at": run_at_of(job), "workload": job.workload, "id": row_id(job), "owner": owner}
        connection.execute(_REWRITE, values)


def _set_state(connection: Connection, state: int, ids: Sequence[int], owner: int) -> None:
    for condition in conditions(ids, owner):
        connection.exec_driver_sql(f"UPDATE {JOBS} SET state = {state} WHERE {condition}")
