"""A line: the waiting jobs of one key in one priority, and its place among the others of its queue. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gearman_server.jobs.function import JobQueue

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.keys.key_table import Key
    from gearman_server.keys.keyed_queue import KeyedQueue


class Line:
    """The waiting jobs of one key in one priority. The first of them is alive: tombstones at the head are dropped."""

    __slots__ = ("counted", "is_listed", "jobs", "key", "queue", "serial", "tag")

    def __init__(self, key: Key, queue: KeyedQueue, serial: int) -> None:
        self.key = key
        self.queue = queue
        self.jobs = JobQueue()
        #: How many of its jobs may start.
        self.counted = 0
        #: Its place among the lines. Those with equal tags have their turns in the order of their serial numbers.
        self.tag = 0
        self.serial = serial
        #: Whether its queue has an entry for it with this tag.
        self.is_listed = False

    @property
    def waiting(self) -> int:
        """How many jobs wait in it."""
        return len(self.jobs) - self.jobs.tombstones

    def may_start(self, order: int) -> bool:
        """Whether its first job, if that is the one of this order, may start."""
        return self.counted > 0 and order_of(self.jobs[0]) == order

    def __lt__(self, _other: Line) -> bool:
        return False  # for two entries of one line

    def __hash__(self) -> int:
        return self.serial  # compiled, a class with a comparison has no other


#: A line with its tag and its serial number.
Entry = tuple[int, int, Line]


def current(entries: Iterable[Entry]) -> list[Entry]:
    """Those that are not outdated."""
    kept = []
    for entry in entries:
        tag, _, line = entry
        if line.tag == tag:
            if line.counted:
                kept.append(entry)
            else:
                line.is_listed = False
    return kept


def is_in_row(row: deque[Entry], heap: Sequence[Entry]) -> bool:
    """Whether the first of all entries is in the row, not in the heap."""
    return not heap or (bool(row) and not heap[0] < row[0])


def cut_by_line(jobs: Iterable[Job], line_of: Callable[[bytes, int], Line]) -> tuple[Mapping[Line, set[Job]], set[Job]]:
    """The jobs by their lines, in which they have no place from now on; and those that are in none."""
    by_line: dict[Line, set[Job]] = {}
    others: set[Job] = set()
    for job in jobs:
        extras = job.extras
        if extras is None or extras.order is None:
            others.add(job)
        else:
            by_line.setdefault(line_of(extras.key, extras.order), set()).add(job)
            extras.order = None
    return by_line, others


def order_of(job: Job) -> int:
    """The place of a job in a line among all jobs of the queue."""
    order = None if job.extras is None else job.extras.order
    return 0 if order is None else order


def priority_of(line: Line) -> int:
    """The priority of its jobs."""
    return line.queue.priority
