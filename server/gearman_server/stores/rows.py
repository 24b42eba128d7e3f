"""Turns a job into a row and back, and deletes rows. The columns are those of the table `gearman_jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearman_server.jobs.job import PRIORITIES, JobState, OptionsAlone
from gearman_server.jobs.store import StoredJob
from gearman_server.options.job_options import cut_cursor, with_cursor
from gearman_server.stores.batch import row_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.jobs.job import Extras, Job

# A look-up in an enum costs as much as ten in a module.
_IS_QUEUED, _IS_HELD, _IS_RUNNING = JobState.QUEUED, JobState.HELD, JobState.RUNNING
_IS_STOPPING = JobState.STOPPING

QUEUED: Final = 0
RUNNING: Final = 1
#: The job was running when its server ended; the attempt is counted.
LOST: Final = 2
#: The job was stopped while a worker had it: it is never run again.
STOPPED: Final = 3

#: The owner of all rows of a store that has one server. Servers that share a store have numbers of their own.
OWNER: Final = 1

JOBS: Final = "gearman_jobs"
#: In a store that servers share: (owner, priority, id).
OWNER_INDEX: Final = "gearman_jobs_owner"
#: Ids in one statement.
_MAX_IDS: Final = 2000

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
    "options",
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
    ("id", "priority", "submitted_at", "handle", "function_name", "unique_key", "options", "workload"),
    ("state", "requeues", "failures"),
)

#: The values of one row.
Row = tuple[Any, ...]


_WAITING_ROW: Final = {**dict.fromkeys(COLUMNS), "state": QUEUED, "requeues": 0, "failures": 0, "unique_key": b""}


def plain_of(jobs: Iterable[Job]) -> list[Job]:
    """The plain jobs: those that wait for their first attempt and have no rare fields but options."""
    return [
        job
        for job in jobs
        if (job.extras is None or type(job.extras) is OptionsAlone or _has_options_alone(job.extras))
        and (job.state is _IS_QUEUED or job.state is _IS_HELD)
    ]


def _has_options_alone(extras: Extras) -> bool:
    """Whether what few jobs have makes no difference for the row but by the options, as in the line of a key."""
    if extras.run_at is not None or extras.expires_at is not None or extras.reducer is not None:
        return False
    return extras.cursor is None and extras.history is None and not extras.submission


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
            None if job.extras is None else job.kept_pairs,
            job.workload,
        )
        for job in jobs
    ]


def waiting_row(**values: Any) -> Row:
    """The row of a job that waits for its first attempt, with these values by their columns."""
    return tuple(({**_WAITING_ROW, **values}).values())


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
        options_of(job),
        job.workload,
    )


def options_of(job: Job) -> bytes | None:
    """The pairs of the job's options for its row; None: it has none."""
    pairs, expires_at = job.kept_pairs, job.rare.expires_at
    if expires_at is not None:
        pairs += (b"\0" if pairs else b"") + b"expires=%d" % round(expires_at * 1000)
    return with_cursor(pairs, job.rare.cursor) or None


def state_of(job: Job) -> int:
    """The state for its row: RUNNING if a worker has it, STOPPED if that is to stop it, else QUEUED, as for those that
    wait in a worker's hands."""
    if job.state is not _IS_RUNNING:
        return STOPPED if job.state is _IS_STOPPING else QUEUED
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
    handle, function, unique, reducer, error, options, workload = [
        None if text is None else bytes(text) for text in texts
    ]
    if priority not in PRIORITIES or not handle or not function or unique is None or workload is None:
        raise ValueError("it is no job")
    return StoredJob(
        number,
        state in (RUNNING, LOST),
        state == STOPPED,
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
        *cut_cursor(options or b""),
    )


def delete_rows(connection: Connection, ids: Sequence[int], owner: int) -> int:
    """Delete this owner's jobs with these ids. Returns the number of those that were there."""
    return sum(
        connection.exec_driver_sql(f"DELETE FROM {JOBS} WHERE {condition}").rowcount
        for condition in conditions(ids, owner)
    )


def conditions(ids: Sequence[int], owner: int) -> Iterator[str]:
    """Conditions for statements that together change this owner's rows with these ids. The numbers need not be bound.

    Not as ranges, though most ids follow one another: a range also reads the row behind it, whose page may be broken.
    And the owner as a sum, which no index has: a database that knows little of the table takes the index of owners, and
    goes through all that this one has.
    """
    for at in range(0, len(ids), _MAX_IDS):
        yield f"id IN ({','.join(map(str, ids[at : at + _MAX_IDS]))}) AND owner + 0 = {owner}"
