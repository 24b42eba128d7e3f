"""The changes of one transaction. The loop's thread collects them, and leaves the batch alone once it is handed over.

They are written in the order deletes that are counted, deletes, inserts, updates, stops: a job whose insert failed may
be inserted anew beside the delete that makes sure of the failure. If there are very many deletes, the writer carries
most of them out beforehand, and removes them from the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gearman_server.jobs.batch_rows import BatchState
from gearman_server.jobs.store import number_of

if TYPE_CHECKING:
    from gearman_server.jobs.batch_rows import BatchRow, FollowedEnd, Outcome
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRun
    from gearman_server.jobs.store import KnownKey


class Batch:
    """Changes to the rows of a store."""

    __slots__ = (
        "awaited",
        "counted",
        "deletes",
        "finished",
        "forgotten",
        "forgotten_batches",
        "inserts",
        "is_awaited",
        "is_given_up",
        "job_batches",
        "key_rows",
        "known",
        "lapsed",
        "letters",
        "lost",
        "lost_runs",
        "marks",
        "may_be_written",
        "not_admitted",
        "outdated",
        "owed",
        "pauses",
        "remembered",
        "results",
        "revived",
        "rewrites",
        "runs",
        "since",
        "stops",
        "tied",
        "uncounted",
        "undone",
        "updates",
    )

    def __init__(self) -> None:
        #: Dictionaries, because they keep the order and a job can be taken out again.
        self.inserts: dict[Job, None] = {}
        #: With the value True only the job's cursor has changed.
        self.updates: dict[Job, bool] = {}
        #: The handles of jobs that are never to be run again.
        self.stops: dict[bytes, None] = {}
        #: Numbers of those that wait for all changes so far.
        self.awaited: list[int] = []
        #: Row ids.
        self.deletes: list[int] = []
        #: Row ids of jobs that are counted when their rows are deleted: the batch of jobs and the outcome of each.
        self.counted: dict[int, tuple[bytes, Outcome]] = {}
        #: Deletes that may only be written together with the inserts that are owed; None: it is not counted.
        self.tied: dict[int, tuple[bytes, Outcome] | None] = {}
        #: Those of the deletes whose jobs `job_batches` counts.
        self.uncounted: set[int] = set()
        #: Rows of batches of jobs, by name, and the names of those to remove.
        self.job_batches: dict[bytes, BatchRow] = {}
        self.forgotten_batches: dict[bytes, None] = {}
        #: Whether somebody waits for it, so that it is written at once.
        self.is_awaited = False
        #: Letters of jobs that failed for good, by handle, and the handles of letters to remove.
        self.letters: dict[bytes, DeadLetter] = {}
        self.forgotten: dict[bytes, None] = {}
        #: Results of background jobs, by handle, and the handles of results to remove.
        self.results: dict[bytes, KeptResult] = {}
        self.outdated: dict[bytes, None] = {}
        #: Jobs that wait for another workload.
        self.rewrites: dict[Job, None] = {}
        #: Keys that outlive their jobs, and keys to remove.
        self.remembered: dict[KnownKey, None] = {}
        self.lapsed: dict[KnownKey, None] = {}
        #: The marks of schedules, by name; None: the schedule no longer exists.
        self.marks: dict[str, ScheduleMark | None] = {}
        #: Runs of schedules that other servers have too; and those that were theirs, which the writer notes here.
        self.runs: list[ScheduleRun] = []
        self.lost_runs: list[tuple[ScheduleRun, ScheduleMark | None]] = []
        #: Jobs whose letters are to be removed, in a store that other servers share; and those that were removed by
        #: others, which the writer notes here.
        self.revived: dict[Job, None] = {}
        self.lost: list[Job] = []
        #: The same for keys that are known in the whole cluster: to be written, or removed; and the inserts whose keys
        #: are other jobs', with the handles of those.
        self.key_rows: dict[KnownKey, bool] = {}
        self.known: dict[Job, bytes] = {}
        #: The same for batches of jobs: those that are done, with their callbacks; inserts that are owed; and inserts
        #: whose batches take no more.
        self.finished: dict[bytes, list[Job]] = {}
        self.owed: dict[Job, None] = {}
        self.not_admitted: list[Job] = []
        #: Since when functions are paused (Unix seconds), by name; None: one is no longer paused.
        self.pauses: dict[bytes, float | None] = {}
        #: When somebody began to wait for it (monotonic seconds).
        self.since: float | None = None
        #: Whether it took too long, or the batch before it did: it is not begun, nor repeated.
        self.is_given_up = False
        #: Whether an attempt that got no answer may have been committed: a later one that fails for sure says nothing
        #: about that.
        self.may_be_written = False
        #: The number of deletes for rows that may have been inserted or not.
        self.undone = 0

    def __bool__(self) -> bool:
        if self.inserts or self.deletes or self.updates:
            return True
        return self._has_other_changes

    @property
    def _has_other_changes(self) -> bool:
        if self.letters or self.forgotten or self.results or self.outdated or self.marks or self.runs:
            return True
        if self.rewrites or self.stops or self.remembered or self.lapsed or self.pauses:
            return True
        if self.revived or self.key_rows or self.finished:
            return True
        return bool(self.counted or self.tied or self.job_batches or self.forgotten_batches or self.awaited)

    @property
    def has_inserts_alone(self) -> bool:
        """Whether it has inserts, and nothing else."""
        return bool(self.inserts) and not (self.deletes or self.updates or self._has_other_changes)

    def count_last_delete(self, end: FollowedEnd) -> None:
        """The last of the deletes is that of a job which something follows."""
        counted = (end.counted_by, end.outcome) if end.counted_by else None
        if end.is_tied:
            self.tied[self.deletes.pop()] = counted
        elif counted is not None:
            self.counted[self.deletes.pop()] = counted
        else:
            self.uncounted.add(self.deletes[-1])

    def take_back(self, failed: Batch) -> None:
        """Take over the changes of an earlier batch that could not be written, except those that are `put_aside`."""
        self.deletes[:0] = failed.deletes
        self.awaited[:0] = failed.awaited
        self.stops = {**failed.stops, **self.stops}
        self.counted = {**failed.counted, **self.counted}
        self.uncounted |= failed.uncounted
        self.job_batches = {**failed.job_batches, **self.job_batches}
        self.forgotten_batches = {**failed.forgotten_batches, **self.forgotten_batches}
        for job, is_cursor_alone in failed.updates.items():
            if job.record is not None:
                self.updates[job] = is_cursor_alone and self.updates.get(job, True)
        self.letters = {
            **{handle: letter for handle, letter in failed.letters.items() if handle not in self.forgotten},
            **self.letters,
        }
        self.results = {
            **{handle: result for handle, result in failed.results.items() if handle not in self.outdated},
            **self.results,
        }
        self.outdated = {**failed.outdated, **self.outdated}
        self.rewrites = {job: None for job in (*failed.rewrites, *self.rewrites) if job.record is not None}
        self.remembered = {key: None for key in (*failed.remembered, *self.remembered) if key not in self.lapsed}
        self.lapsed = {**failed.lapsed, **self.lapsed}
        self.pauses = {**failed.pauses, **self.pauses}
        self.key_rows = {**failed.key_rows, **self.key_rows}

    def put_aside(self, failed: Batch, following: Batch, *, is_unknown: bool) -> None:
        """Take over those changes of a failed batch that may be written only together with its inserts, or later.

        Some of the inserts will be repeated. If a job is dropped instead, the maker of its mark or letter sets that
        back, in the batch that is `following`. If it `is_unknown` whether the batch was committed, because the
        connection broke during the commit for instance, its rows are deleted before they are inserted again.
        """
        if is_unknown:
            self.deletes += map(row_id, failed.inserts)
            self.undone += len(failed.inserts)
        self.undone += failed.undone
        self.put_owed_aside(failed)
        if self.job_batches:
            self.put_owed_aside(following)
        self.marks.update({name: mark for name, mark in failed.marks.items() if name not in following.marks})
        gone = (handle for handle in failed.forgotten if handle not in failed.letters)
        self.forgotten.update({handle: None for handle in gone if handle not in following.letters})

    def put_owed_aside(self, failed: Batch) -> None:
        """Take over what may be written only together with inserts: those that are owed, all of which are repeated, and
        those of runs."""
        self.runs += failed.runs
        failed.runs = []
        self.revived.update(failed.revived)
        failed.revived = {}
        self.finished.update(failed.finished)
        failed.finished = {}
        self.owed.update(failed.owed)
        self.tied.update(failed.tied)
        failed.tied = {}
        for name in [name for name, row in failed.job_batches.items() if row.state is BatchState.DONE]:
            self.job_batches[name] = failed.job_batches.pop(name)

    def add_repeated(self, repeated: Batch) -> None:
        """Take over inserts that are repeated, and the changes that were put aside."""
        self.deletes[:0] = repeated.deletes
        self.undone += repeated.undone
        self.inserts = {**repeated.inserts, **self.inserts}
        self.tied = {**repeated.tied, **self.tied}
        self.job_batches = {**repeated.job_batches, **self.job_batches}
        self.marks = {**repeated.marks, **self.marks}
        self.runs = [*repeated.runs, *self.runs]
        self.revived = {**repeated.revived, **self.revived}
        self.finished = {**repeated.finished, **self.finished}
        self.owed.update(repeated.owed)
        self.forgotten = {**repeated.forgotten, **self.forgotten}


def row_id(job: Job) -> int:
    """The id of the job's row: the number in its handle, which never comes twice."""
    return number_of(job.handle)


def workload_bytes(jobs: Iterable[Job]) -> int:
    """The size of the jobs' workloads."""
    return sum([len(job.workload) for job in jobs])
