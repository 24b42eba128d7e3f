"""A queue of one priority in which keys take turns, or in which the jobs of some keys have to wait for others. Pure.

Each key has a line of its own. The lines with jobs that may start are in order by their tags. With `fair` a tag is a
virtual time: a turn takes a key as many units back as its weight is light, and a key that comes anew begins where the
others are. So between two turns of a key that has work, any other has no more turns than its weight allows, and nothing
has to be remembered of keys without jobs. A line that had its turn mostly comes behind all others, so they stand in a
row; the others cost two steps in a heap. With 10,000 keys the heap alone took half a microsecond more (measured).

Without `fair` it is first in, first out, among the jobs that may start: the lines stand in a flow, each once for every
job. Only those whose job was passed over, because it could not start then, get tags: the number of their first job.
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
from gearman_server.keys.line import Entry, Line, current, cut_by_line, is_in_row, order_of, priority_of

if TYPE_CHECKING:
    from gearman_server.keys.key_table import KeyTable

#: So many outdated entries are left alone.
_FEW: Final = 64
#: So many places in the flow are passed over in one step: half a millisecond of work.
_LOOKS: Final = 50 * STEP


@python_class
class KeyedQueue(JobQueue):
    """The jobs of one function and priority, by key. As a deque it is empty; its length is that of all lines."""

    is_keyed = True

    def __init__(self, table: KeyTable, priority: int, older: JobQueue) -> None:
        """`older` is the queue until now. Its jobs are sorted into lines in steps: see `sort_some`."""
        super().__init__()
        self.table = table
        self.priority = priority
        #: Without `fair`: the line of each job that came, in this order, as far as nobody has asked for more; and the
        #: order of the last job before these. Most jobs are found here.
        self._flow: deque[Line] = deque()
        self._passed = 0
        #: Whether more of the flow is to be passed over before a job may be found that can start.
        self._is_passing = False
        #: The other lines with jobs that may start, in order: a line that had its turn mostly comes behind all others.
        #: Those that come before the last one are in the heap.
        self._row: deque[Entry] = deque()
        self._heap: list[Entry] = []
        #: The virtual time: the tag of the job that was taken last.
        self._turn = 0
        self._last_serial = 0
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
        """Whether some of its jobs have yet to be looked at, and more than a step of them."""
        return self._unsorted is not None or self._is_passing

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
        if line.counted and not line.is_listed:
            self._show(line)

    def _sort(self, job: Job) -> None:
        """Put the job at the tail of its line."""
        self._last_order = order = self._last_order + 1
        extras = job.with_place()
        extras.order = order
        line = self._line_of(extras.key, order)
        line.jobs.append(job)
        if self.table.is_fair:
            self._passed = order
        else:
            self._flow.append(line)
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

    def sort_some(self) -> None:
        """Sort some of the older jobs into lines, or pass over some that can't start."""
        if self._is_passing:
            self._first_in_flow()
            return
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
        row = self._row
        if row and not self._heap and row[0][2].counted and row[0][2].tag == row[0][0]:
            line = row.popleft()[2]
        else:
            found = self._take_line()
            if found is None:
                return None
            line, row = found, self._row
        table, jobs = self.table, line.jobs
        job = jobs.popleft()
        if jobs.tombstones:
            jobs.drop_tombstones_at_head()
        self._in_lines -= 1
        self._startable -= 1
        table.startable -= 1
        line.counted -= 1
        counted_in = table.note_start(line.key) if table.is_limited else None
        extras = job.extras
        if extras is not None:
            extras.order, extras.counted_in = None, counted_in
        if table.is_fair:
            turn = self._turn = line.tag if line.tag > self._turn else self._turn
            line.tag = turn + line.key.stride
            if line.counted:
                entry = line.tag, line.serial, line
                if row and entry < row[-1]:
                    heappush(self._heap, entry)
                else:
                    row.append(entry)
        elif line.is_listed:
            self.place_anew(line)
        if not line.counted:
            self._close(line)
        return job

    def _take_line(self) -> Line | None:
        """The line whose turn it is, taken out of its place."""
        flow = self._flow
        if self._row or self._heap or not flow or not flow[0].may_start(self._passed + 1):
            line = self._next_line()
            if line is None:
                return None
            if line.is_listed:
                if is_in_row(self._row, self._heap):
                    self._row.popleft()
                else:
                    heappop(self._heap)
                return line
        self._passed += 1
        return flow.popleft()

    def _next_line(self) -> Line | None:
        line = self._first_listed() or self._first_in_flow()
        if line is None and self._unsorted is not None:
            self.sort_some()
            line = self._first_listed() or self._first_in_flow()
        return line

    def _first_listed(self) -> Line | None:
        while self._row or self._heap:
            is_first = is_in_row(self._row, self._heap)
            tag, _, line = self._row[0] if is_first else self._heap[0]
            if line.tag == tag and line.is_listed:
                if line.counted:
                    return line
                line.is_listed = False
            if is_first:
                self._row.popleft()
            else:
                heappop(self._heap)
        return None

    def _first_in_flow(self) -> Line | None:
        """The first line in the flow whose job there may start. Those before it are passed over, and listed when they
        may have a turn again; if they are very many, the next ones follow in steps."""
        flow, looks = self._flow, _LOOKS
        while flow and looks:
            if flow[0].may_start(self._passed + 1):
                self._is_passing = False
                return flow[0]
            flow.popleft()
            self._passed += 1
            looks -= 1
        was_passing, self._is_passing = self._is_passing, bool(flow)
        if self._is_passing and not was_passing:
            self.table.start_sorting()  # it does a step at once
            if flow and flow[0].may_start(self._passed + 1):
                return flow[0]
        return None

    def _close(self, line: Line) -> None:
        """None of the line's jobs may start now; forget it if it has none."""
        self._open_lines -= 1
        line.is_listed = False
        if not line.jobs:
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
        by_line, others = cut_by_line(jobs, self._line_of)
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
        elif not self.table.is_fair and line.is_listed and order_of(line.jobs[0]) != line.tag:
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
            self._show(line)

    def place_anew(self, line: Line) -> None:
        """Give the line its place by the rules that hold now."""
        line.is_listed = False
        if self.table.is_fair:
            line.tag = self._turn + line.key.stride
        if line.counted:
            self._show(line)

    def _show(self, line: Line) -> None:
        """List a line with jobs that may start, unless its turn comes in the flow."""
        if not self.table.is_fair:
            line.tag = order_of(line.jobs[0])
            if line.tag > self._passed:
                return
        line.is_listed = True
        entry = line.tag, line.serial, line
        if self._row and entry < self._row[-1]:
            heappush(self._heap, entry)
        else:
            self._row.append(entry)
        self._clean_if_many()

    def _clean_if_many(self) -> None:
        """Drop outdated entries if there are more of them than others."""
        if len(self._row) + len(self._heap) > 2 * self._open_lines + _FEW:
            self._row = deque(current(self._row))
            self._heap = current(self._heap)
            heapify(self._heap)
        if len(self._flow) > 2 * self._in_lines + _FEW:
            self.leave_flow()
            for line in [line for key in self.table.keys.values() for line in key.lines if line.queue is self]:
                if not line.is_listed:
                    self.place_anew(line)

    def leave_flow(self) -> None:
        """Have all lines listed: the caller gives each its place anew."""
        self._flow.clear()
        self._passed = self._last_order
