"""A queue of one priority in which keys take turns, or in which the jobs of some keys have to wait for others. Pure.

Each key has a line of its own. The lines with jobs that may start are in order by their tags. With `fair` a tag is a
virtual time: a turn takes a key as many units back as its weight is light, and a key that comes anew begins where the
others are. So between two turns of a key that has work, any other has no more turns than its weight allows, and nothing
has to be remembered of keys without jobs. Without `fair` a tag is the number of the line's first job: first in, first
out, among those that may start. Either way a line that had its turn mostly comes behind all others, so they stand in a
row; the others cost two steps in a heap. With 10,000 keys the heap alone took half a microsecond more (measured).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Final

from gearman_server.compiled.python_class import python_class
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.function import JobQueue, ReplayQueue
from gearman_server.jobs.job import QUEUED, Job
from gearman_server.keys.line import Entry, Line, current, order_of, priority_of

if TYPE_CHECKING:
    from gearman_server.keys.key_table import KeyTable

#: So many outdated entries are left alone.
_FEW: Final = 64


@python_class
class KeyedQueue(JobQueue):
    """The jobs of one function and priority, by key. As a deque it is empty; its length is that of all lines."""

    is_keyed = True

    def __init__(self, table: KeyTable, priority: int, older: JobQueue) -> None:
        """`older` is the queue until now. Its jobs are sorted into lines in steps: see `sort_some`."""
        super().__init__()
        self.table = table
        self.priority = priority
        #: The lines with jobs that may start, in order: a line that had its turn mostly comes behind all others. Those
        #: that come before the last one are in the heap.
        self._row: deque[Entry] = deque()
        self._heap: list[Entry] = []
        #: The virtual time: the tag of the job that was taken last.
        self._turn = 0
        self._last_serial = 0
        #: Whether the line that was looked for last is the first in the row.
        self._is_in_row = False
        #: Orders that are given to jobs at the tail and at the head.
        self._last_order = self._first_order = 0
        #: The number of living jobs in lines, of those that may start, and of their lines.
        self._in_lines = self._startable = self._open_lines = 0
        #: Jobs that are not sorted yet, and those behind the unread ones while stored jobs come back; None: none.
        #: Jobs that have ended there, or before their turn came at all, are counted as tombstones.
        self._unsorted: JobQueue | None = older if len(older) else None
        self._behind: JobQueue | None = None
        if isinstance(older, ReplayQueue):
            self.is_read = False
            self._behind = older.behind
            self._unsorted = JobQueue(older) if len(older) else None
        self.ahead = older.ahead
        self.tombstones = older.tombstones

    # --- numbers

    def __len__(self) -> int:
        return self.waiting

    def __bool__(self) -> bool:
        if self._in_lines > 0:
            return True
        if self._unsorted is None and self._behind is None and not self.ahead:
            return False
        return self.waiting > 0

    def __iter__(self) -> Iterator[Job]:
        lines = (line.jobs for key in self.table.keys.values() for line in key.lines if line.queue is self)
        return chain(chain.from_iterable(lines), self._unsorted or (), self._behind or ())

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        waiting = self._in_lines + self.ahead - self.tombstones
        if self._unsorted is not None:
            waiting += len(self._unsorted)
        return waiting if self._behind is None else waiting + len(self._behind)

    @property
    def takeable(self) -> int:
        """How many of the jobs could start now, as far as their keys decide."""
        return self._startable

    @property
    def is_unsorted(self) -> bool:
        """Whether some of its jobs have yet to be sorted into lines."""
        return self._unsorted is not None

    def drop_tombstones_at_head(self) -> None:
        """Nothing to do: the lines do it."""

    # --- in

    def append(self, job: Job) -> None:
        """Queue a new job, or one that is to run again."""
        if self._behind is not None:
            self._behind.append(job)
        elif self._unsorted is not None:
            self._unsorted.append(job)
        else:
            self._sort(job)

    def restore(self, job: Job) -> None:
        """Queue the next of the unread jobs."""
        if job.state is not QUEUED:
            self.tombstones -= 1
        elif self._unsorted is not None:
            self._unsorted.append(job)
        else:
            self._sort(job)

    def appendleft(self, job: Job) -> None:
        """Put a job back at the head of its line. Its key's next turn is the next of all."""
        self._first_order -= 1
        extras = job.with_place()
        extras.order = self._first_order
        line = self._line_of(extras.key, self._first_order)
        line.jobs.appendleft(job)
        line.tag = min(line.tag, self._turn - 1) if self.table.is_fair else self._first_order
        line.is_listed = False
        self._note_one_more(line)

    def _sort(self, job: Job) -> None:
        """Put the job at the tail of its line."""
        self._last_order = order = self._last_order + 1
        extras = job.with_place()
        extras.order = order
        line = self._line_of(extras.key, order)
        line.jobs.append(job)
        self._note_one_more(line)

    def _line_of(self, name: bytes, order: int) -> Line:
        """The line of the key with that name; a new one begins with the job of this order."""
        table = self.table
        key = table.keys.get(name) or table.find(name)
        for line in key.lines:
            if line.queue is self:
                return line
        self._last_serial += 1
        line = Line(key, self, self._last_serial)
        line.tag = self._turn + key.stride if table.is_fair else order
        key.lines.append(line)
        if len(key.lines) > 1:
            key.lines.sort(key=priority_of)
        return line

    def _note_one_more(self, line: Line) -> None:
        self._in_lines += 1
        if not line.key.is_short or len(line.key.lines) > 1:
            self.table.recount(line.key)
        if line.counted and not line.is_listed:
            self._list(line)

    def sort_some(self) -> None:
        """Sort some of the older jobs into lines."""
        unsorted = self._unsorted
        for _ in range(STEP):
            if not unsorted:
                self._unsorted = None
                return
            job = unsorted.popleft()
            if job.state is QUEUED:
                self._sort(job)
            else:
                self.tombstones -= 1

    def as_read(self) -> JobQueue:
        """The queue of the same jobs for when everything has been read: it is the same."""
        behind, self._behind, self.is_read = self._behind, None, True
        if self._unsorted is not None:
            self._unsorted.extend(behind or ())
        elif behind:
            self._unsorted = behind
        self.table.start_sorting()
        return self

    # --- out

    def peek(self) -> Job | None:
        """The job that would be taken next, left in its place."""
        if self.table.is_limited:
            self.table.advance()
        line = self._next_line()
        return None if line is None else line.jobs.peek()

    def take(self) -> Job | None:
        """The job whose turn it is, taken out of the queue: it starts now. The hot path, so it makes hardly a call."""
        row, heap = self._row, self._heap
        is_in_row = bool(row) and not (heap and heap[0] < row[0])
        first = row[0] if is_in_row else heap[0] if heap else None
        line = None if first is None or first[2].tag != first[0] else first[2]
        if line is None or not line.counted:
            line = self._next_line()
            if line is None:
                return None
            row, heap, is_in_row = self._row, self._heap, self._is_in_row
        if is_in_row:
            row.popleft()
        else:
            heappop(heap)
        table, key, jobs = self.table, line.key, line.jobs
        job = jobs.popleft()
        if job.extras is not None:
            job.extras.order = None
        if jobs.tombstones:
            jobs.drop_tombstones_at_head()
        self._in_lines -= 1
        self._startable -= 1
        table.startable -= 1
        line.counted -= 1
        if table.is_limited:
            table.note_start(key)
        if table.is_fair:
            turn = self._turn = line.tag if line.tag > self._turn else self._turn
            line.tag = turn + key.stride
        elif jobs:
            line.tag = order_of(jobs[0])
        if line.counted:
            entry = line.tag, line.serial, line
            if row and entry < row[-1]:
                heappush(heap, entry)
            else:
                row.append(entry)
        else:
            self._open_lines -= 1
            line.is_listed = False
            if not jobs:
                self._drop(line)
        return job

    def _next_line(self) -> Line | None:
        line = self._first_listed()
        if line is None and self._unsorted is not None:
            self.sort_some()
            line = self._first_listed()
        return line

    def _first_listed(self) -> Line | None:
        row, heap = self._row, self._heap
        while row or heap:
            self._is_in_row = is_in_row = not heap or (bool(row) and not heap[0] < row[0])
            tag, _, line = row[0] if is_in_row else heap[0]
            if line.tag == tag:
                if line.counted:
                    return line
                line.is_listed = False
            if is_in_row:
                row.popleft()
            else:
                heappop(heap)
        return None

    def _put(self, entry: Entry) -> None:
        row = self._row
        if row and entry < row[-1]:
            heappush(self._heap, entry)
        else:
            row.append(entry)

    def _drop(self, line: Line) -> None:
        """Forget a line that is empty."""
        line.key.lines.remove(line)
        if not line.key.starts:  # else the look that is planned sees to it
            self.table.forget_idle(line.key)

    def bury(self, job: Job) -> None:
        """Note that this job, which is in here, has just ended."""
        extras = job.extras
        if extras is None or extras.order is None:
            self.tombstones += 1
            return
        line = self._line_of(extras.key, extras.order)
        extras.order = None
        line.jobs.bury(job)
        self._note_fewer(line, 1)

    def withdraw(self, jobs: Collection[Job]) -> None:
        """Take out these jobs, which are in here and came lately."""
        by_line: dict[Line, set[Job]] = {}
        others: set[Job] = set()
        for job in jobs:
            extras = job.extras
            if extras is None or extras.order is None:
                others.add(job)
            else:
                by_line.setdefault(self._line_of(extras.key, extras.order), set()).add(job)
                extras.order = None
        for line, its_jobs in by_line.items():
            line.jobs.withdraw(its_jobs)
            self._note_fewer(line, len(its_jobs))
        late = self._unsorted if self._behind is None else self._behind
        if others and late is not None:
            late.withdraw(others)

    def _note_fewer(self, line: Line, jobs: int) -> None:
        self._in_lines -= jobs
        line.jobs.drop_tombstones_at_head()
        self.table.recount(line.key)
        if not line.jobs:
            line.key.lines.remove(line)
            self.table.forget_idle(line.key)
        elif not self.table.is_fair and order_of(line.jobs[0]) != line.tag:
            self.place_anew(line)
        self._clean_if_many()

    # --- which lines may have a turn

    def set_startable(self, line: Line, jobs: int) -> None:
        """Note that so many jobs of the line may start."""
        more = jobs - line.counted
        self._startable += more
        self.table.startable += more
        if not line.counted:
            self._open_lines += 1
        elif not jobs:
            self._open_lines -= 1
        line.counted = jobs
        if jobs and not line.is_listed:
            if self.table.is_fair:
                line.tag = max(line.tag, self._turn - 1)
            self._list(line)

    def place_anew(self, line: Line) -> None:
        """Give the line its place by the rules that hold now."""
        line.tag = self._turn + line.key.stride if self.table.is_fair else order_of(line.jobs[0])
        line.is_listed = False
        if line.counted:
            self._list(line)

    def _list(self, line: Line) -> None:
        line.is_listed = True
        self._put((line.tag, line.serial, line))
        self._clean_if_many()

    def _clean_if_many(self) -> None:
        """Drop outdated entries if there are more of them than others."""
        if len(self._row) + len(self._heap) > 2 * self._open_lines + _FEW:
            self._row = deque(current(self._row))
            self._heap = current(self._heap)
            heapify(self._heap)
