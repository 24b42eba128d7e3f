"""The changes of one transaction. The loop's thread collects them, and leaves the batch alone once it is handed over.

They are written in the order deletes, inserts, updates: a job whose insert failed may be inserted anew beside the
delete that makes sure of the failure. If there are very many deletes, the writer carries most of them out beforehand,
and removes them from the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark


class Batch:
    """Changes to the rows of a store."""

    __slots__ = (
        "deletes",
        "forgotten",
        "inserts",
        "is_given_up",
        "letters",
        "marks",
        "outdated",
        "results",
        "since",
        "undone",
        "updates",
    )

    def __init__(self) -> None:
        #: Dictionaries, because they keep the order and a job can be taken out again.
        self.inserts: dict[Job, None] = {}
        self.updates: dict[Job, None] = {}
        #: Row ids.
        self.deletes: list[int] = []
        #: Letters of jobs that failed for good, by handle, and the handles of letters to remove.
        self.letters: dict[bytes, DeadLetter] = {}
        self.forgotten: dict[bytes, None] = {}
        #: Results of background jobs, by handle, and the handles of results to remove.
        self.results: dict[bytes, KeptResult] = {}
        self.outdated: dict[bytes, None] = {}
        #: The marks of schedules, by name; None: the schedule no longer exists.
        self.marks: dict[str, ScheduleMark | None] = {}
        #: The time of its first insert (monotonic seconds).
        self.since: float | None = None
        #: Whether it took too long, or the batch before it did: it is not begun, nor repeated.
        self.is_given_up = False
        #: The number of deletes for rows that may have been inserted or not.
        self.undone = 0

    def __bool__(self) -> bool:
        if self.inserts or self.deletes or self.updates:
            return True
        return bool(self.letters or self.forgotten or self.results or self.outdated or self.marks)

    @property
    def has_inserts_alone(self) -> bool:
        """Whether it has inserts, and nothing else."""
        others = self.deletes or self.updates or self.letters or self.forgotten
        return bool(self.inserts) and not (others or self.results or self.outdated or self.marks)

    def take_back(self, failed: Batch) -> None:
        """Take over the changes of an earlier batch that could not be written, except those that are `put_aside`."""
        self.deletes[:0] = failed.deletes
        self.updates = {job: None for job in (*failed.updates, *self.updates) if job.record is not None}
        self.letters = {
            **{handle: letter for handle, letter in failed.letters.items() if handle not in self.forgotten},
            **self.letters,
        }
        self.results = {
            **{handle: result for handle, result in failed.results.items() if handle not in self.outdated},
            **self.results,
        }
        self.outdated = {**failed.outdated, **self.outdated}

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
        self.marks.update({name: mark for name, mark in failed.marks.items() if name not in following.marks})
        gone = (handle for handle in failed.forgotten if handle not in failed.letters)
        self.forgotten.update({handle: None for handle in gone if handle not in following.letters})

    def add_repeated(self, repeated: Batch) -> None:
        """Take over inserts that are repeated, and the changes that were put aside."""
        self.deletes[:0] = repeated.deletes
        self.undone += repeated.undone
        self.inserts = {**repeated.inserts, **self.inserts}
        self.marks = {**repeated.marks, **self.marks}
        self.forgotten = {**repeated.forgotten, **self.forgotten}


def row_id(job: Job) -> int:
    """The id of the job's row: the number in its handle, which never comes twice."""
    return number_of(job.handle)


def number_of(handle: bytes) -> int:
    """The number in one of our handles."""
    return int(handle.rpartition(b":")[2])


def workload_bytes(jobs: Iterable[Job]) -> int:
    """The size of the jobs' workloads."""
    return sum([len(job.workload) for job in jobs])
