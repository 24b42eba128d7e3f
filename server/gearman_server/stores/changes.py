"""All changes to rows except inserts: deletes, updates, letters, results, marks. The caller makes the transactions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gearman_server.jobs.job import Job
from gearman_server.stores.backends import JOBS
from gearman_server.stores.batch import Batch, row_id
from gearman_server.stores.letters_table import forget_letters, write_letters
from gearman_server.stores.results_table import delete_results, write_results
from gearman_server.stores.rows import LOST, OWNER, RUNNING, changes_of, state_of
from gearman_server.stores.schedules_table import write_marks

#: Ids in one statement.
_MAX_IDS: Final = 2000
_COUNT_LOSSES: Final = text(
    f"UPDATE {JOBS} SET state = {LOST}, requeues = requeues + 1 WHERE state = {RUNNING} AND owner = {OWNER}"
)
_CHANGE: Final = text(
    f"UPDATE {JOBS} SET state = :state, run_at = :run_at, requeues = :requeues, failures = :failures,"
    " last_error = :last_error WHERE id = :id"
)


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


def delete_jobs(connection: Connection, ids: Sequence[int]) -> None:
    for condition in _conditions(ids):
        connection.exec_driver_sql(f"DELETE FROM {JOBS} WHERE {condition}")


def change(connection: Connection, batch: Batch, room_bytes: int | None = None) -> None:
    """Write a batch's changes except inserts and deletes. The texts of a result or a letter may have `room_bytes`."""
    if batch.updates:
        _update(connection, batch.updates)
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


def _update(connection: Connection, jobs: Iterable[Job]) -> None:
    """Update rows. Most jobs were just given to a worker for the first time: one statement changes all of these."""
    by_state: dict[int, list[int]] = defaultdict(list)
    changes = []
    for job in jobs:
        if job.history is None:
            by_state[state_of(job)].append(row_id(job))
        else:
            changes.append(changes_of(job))
    for state, ids in by_state.items():
        for condition in _conditions(ids):
            connection.exec_driver_sql(f"UPDATE {JOBS} SET state = {state} WHERE {condition}")
    if changes:
        connection.execute(_CHANGE, changes)


def _conditions(ids: Sequence[int]) -> Iterator[str]:
    """Conditions for statements that together change the rows with these ids, which are our own and need not be bound.

    Not as ranges, though most ids follow one another: a range also reads the row behind it, whose page may be broken.
    """
    for at in range(0, len(ids), _MAX_IDS):
        yield f"id IN ({','.join(map(str, ids[at : at + _MAX_IDS]))})"
