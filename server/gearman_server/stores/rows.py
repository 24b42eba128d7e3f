"""Turns a job into a row and back. The columns are those of the table `gearman_jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearman_server.jobs.job import PRIORITIES, JobState
from gearman_server.jobs.store import StoredJob
from gearman_server.stores.batch import row_id

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

# A look-up in an enum costs as much as ten in a module.
_IS_QUEUED, _IS_RUNNING = JobState.QUEUED, JobState.RUNNING

QUEUED: Final = 0
RUNNING: Final = 1
#: The job was running when its server ended; the attempt is counted.
LOST: Final = 2

#: The server that owns a row. A store has only one server; the column is there in case it has several one day.
OWNER: Final = 1

#: The columns of an insert, in this order. `owner` and `lease_until` have defaults.
COLUMNS: Final = (
    "id",
    "state",
    "priority",
    "requeues",
    "failures",
    "run_at",
    "submitted_at",
    "handle",
    "function_name",
    "unique_key",
    "reducer",
    "last_error",
    "workload",
)


class Layout(NamedTuple):
    """The columns of rows that are inserted together."""

    #: The columns of a row's values, the workload last.
    columns: tuple[str, ...]
    #: Columns that are 0 in every row.
    zeros: tuple[str, ...] = ()


FULL: Final = Layout(COLUMNS)
#: A job that waits for its first attempt, as nearly all do when they are inserted.
PLAIN: Final = Layout(
    ("id", "priority", "submitted_at", "handle", "function_name", "unique_key", "workload"),
    ("state", "requeues", "failures"),
)

#: The values of one row.
Row = tuple[Any, ...]


def plain_of(jobs: Iterable[Job]) -> list[Job]:
    """The plain jobs: those that wait for their first attempt and have no rare fields."""
    return [job for job in jobs if job.extras is None and job.state is _IS_QUEUED]


def plain_rows(jobs: Iterable[Job], offset_s: float) -> list[Row]:
    """The rows for plain jobs. The hot path.

    `offset_s` is added to a monotonic time to get the wall clock's.
    """
    return [
        (
            int(job.handle.rpartition(b":")[2]),
            job.priority,
            offset_s + job.submitted,
            job.handle,
            job.function.name,
            job.unique,
            job.workload,
        )
        for job in jobs
    ]


def row_of(job: Job, offset_s: float) -> Row:
    """The row for any job, as it is now."""
    history = job.history
    return (
        row_id(job),
        state_of(job),
        job.priority,
        job.requeues,
        history.failures if history is not None else 0,
        run_at_of(job),
        offset_s + job.submitted,
        job.handle,
        job.function.name,
        job.unique,
        job.rare.reducer,
        history.error if history is not None else None,
        job.workload,
    )


def state_of(job: Job) -> int:
    """The state for its row: RUNNING if a worker has it, else QUEUED, as for those that wait in a worker's hands."""
    if job.state is not _IS_RUNNING:
        return QUEUED
    worker = job.worker
    held = worker.held if worker is not None else None
    return RUNNING if held is None or held.was_begun_at_once(job) else QUEUED


def changes_of(job: Job) -> dict[str, Any]:
    """The values that may have changed in the row of a job after a failed attempt."""
    history = job.history
    return {
        "id": row_id(job),
        "state": state_of(job),
        "run_at": run_at_of(job),
        "requeues": job.requeues,
        "failures": history.failures if history is not None else 0,
        "last_error": history.error if history is not None else None,
    }


def run_at_of(job: Job) -> float | None:
    """The Unix time before which the job must not run: for its next attempt, or else for the first one."""
    if job.history is not None and job.history.not_before is not None:
        return job.history.not_before
    return job.rare.run_at


def stored_job(values: Sequence[Any]) -> StoredJob:
    """The job of a row, from the values of `COLUMNS`; bytes may have any type that a driver returns.

    Raises:
        ValueError: the row can't be a job's.
    """
    number, state, priority, requeues, failures, run_at, submitted_at, *texts = values
    handle, function, unique, reducer, error, workload = [None if text is None else bytes(text) for text in texts]
    if priority not in PRIORITIES or not handle or not function or unique is None or workload is None:
        raise ValueError("it is no job")
    return StoredJob(
        number,
        state in (RUNNING, LOST),
        priority,
        requeues + (state == RUNNING),
        failures,
        run_at,
        submitted_at,
        handle,
        function,
        unique,
        error,
        reducer,
        workload,
    )
