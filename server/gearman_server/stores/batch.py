"""The changes of one transaction. They accumulate on the loop's thread, which leaves the batch alone once it is handed
over. Of very many deletes the writer carries most out ahead, and takes them out of it.

Its order when written: deletes, inserts, updates. So a job whose insert failed may be inserted anew beside the delete
that makes sure of the failure.
"""

from __future__ import annotations

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
        #: Letters of jobs that failed for good, by handle, and handles of those that are kept no longer.
        self.letters: dict[bytes, DeadLetter] = {}
        self.forgotten: dict[bytes, None] = {}
        #: Results of background jobs, by handle, and handles of those that are kept no longer.
        self.results: dict[bytes, KeptResult] = {}
        self.outdated: dict[bytes, None] = {}
        #: How far schedules have come, by their names; None: there is no such schedule any more.
        self.marks: dict[str, ScheduleMark | None] = {}
        #: When its first insert came (monotonic seconds).
        self.since: float | None = None
        #: Whether nobody waits for it any more: it took too long, or the one before it did.
        self.is_given_up = False
        #: How many of its deletes are of rows whose insert failed, as far as anybody knows.
        self.undone = 0

    def __bool__(self) -> bool:
        if self.inserts or self.deletes or self.updates:
            return True
        return bool(self.letters or self.forgotten or self.results or self.outdated or self.marks)

    @property
    def has_inserts_alone(self) -> bool:
        """Whether nothing else is in it."""
        others = self.deletes or self.updates or self.letters or self.forgotten
        return bool(self.inserts) and not (others or self.results or self.outdated or self.marks)

    def take_back(self, failed: Batch) -> None:
        """An earlier batch could not be written: what nobody waits for is written with this one.

        Its inserts are not: their submitters are told so. Whether they were committed is not always known, as when
        the connection broke in the middle, so their rows are deleted.
        """
        self.deletes[:0] = [*failed.deletes, *map(row_id, failed.inserts)]
        self.undone += failed.undone + len(failed.inserts)
        self.updates = {job: None for job in (*failed.updates, *self.updates) if job.record is not None}
        # Marks and letters of jobs that were not inserted are set back by those who made them.
        self.marks = {**failed.marks, **self.marks}
        self.letters = {
            **{handle: letter for handle, letter in failed.letters.items() if handle not in self.forgotten},
            **self.letters,
        }
        self.results = {
            **{handle: result for handle, result in failed.results.items() if handle not in self.outdated},
            **self.results,
        }
        self.outdated = {**failed.outdated, **self.outdated}
        self.forgotten = {**failed.forgotten, **self.forgotten}


def row_id(job: Job) -> int:
    """A row's own number is the one in the job's handle, which never comes twice."""
    return number_of(job.handle)


def number_of(handle: bytes) -> int:
    """The number in a handle of ours."""
    return int(handle.rpartition(b":")[2])
