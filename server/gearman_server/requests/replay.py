"""Brings an earlier run's jobs back from the store, page by page, while clients and workers are already served. Pure.

Rows are read by priority and then by age, so a worker gets the same jobs as without the restart. New jobs queue behind
the unread rows of their priority. A request that names a unique key or a handle which is not in memory waits until the
store has been asked for it; so does everything behind it on its connection, but no other connection. Requests that need
wait no longer are handed back, and the broker carries them out at the end of a pass.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from gearman_server.errors import RefusedError
from gearman_server.jobs.job import DELAYED, PRIORITIES
from gearman_server.jobs.session import WITHHELD_REPLY_BYTES

if TYPE_CHECKING:
    from gearman_client.packet import Packet
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session
    from gearman_server.jobs.store import StoredJob, Unread
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.orphans.doubts import Doubts
    from gearman_server.orphans.former_run import FormerRun
    from gearman_server.requests.named_jobs import NamedJobs
    from gearman_server.requests.restoring import Restoring


class Release(Enum):
    """Why packets are handed back. It decides how they are carried out."""

    #: The store has been asked for the jobs that they name: all that exist are in memory now.
    ASKED = "asked"
    #: The store can't be asked for the job that the packet names: refuse it.
    UNREADABLE = "unreadable"
    #: They came behind such packets: the store has not been asked for the jobs that they name.
    BEHIND = "behind"


class Released(NamedTuple):
    """Packets that need wait no longer."""

    session: Session
    packets: Sequence[Packet]
    how: Release


@dataclass(slots=True)
class _Parked:
    """Packets of a connection, the first of which has to wait for an answer of the store."""

    packets: list[Packet]
    size_bytes: int = 0
    #: For how many of them the store has been asked.
    asked: int = 0
    #: Whether the store could answer.
    is_readable: bool = True


class Comebacks:
    """Makes jobs of rows."""

    def __init__(self, restoring: Restoring, doubts: Doubts, former: FormerRun) -> None:
        self._restoring = restoring
        self._doubts = doubts
        self._former = former

    def take(self, row: StoredJob, now: float) -> Job | None:
        """The job of the row, which is to take its place in its queue. None: it takes none, because it waits for its
        time or for its worker's word, has its worker still, or is over.

        Raises:
            RefusedError: the row can't be used.
        """
        job = self._restoring.restore(row, now)
        if job is None or job.state is DELAYED:
            return None
        until = self._former.doubted_until(job, was_running=row.was_running)
        return job if self._doubts.settle(job, until, was_running=row.was_running) else None

    def end(self) -> None:
        """All rows are read."""
        self._doubts.end()


class Replay:
    """Brings stored jobs back into the table, and holds up only requests that can't be answered without them."""

    def __init__(
        self,
        comebacks: Comebacks,
        functions: Functions,
        wake_up: WakeUp,
        named_jobs: NamedJobs,
        unread: Unread,
        agenda: Agenda,
    ) -> None:
        self._comebacks = comebacks
        self._functions = functions
        self._wake = wake_up.wake
        self._wanted_by = named_jobs.wanted_by
        self._look_up = unread.look_up
        self._agenda = agenda
        #: How far the rows have been read.
        self._rows = functions.unread
        self._rows.is_reading = True
        #: How many jobs have come back.
        self.loaded = 0
        self._parked: dict[Session, _Parked] = {}
        # Those of the parked packets that need wait no longer, in order.
        self._released: deque[tuple[Session, _Parked]] = deque()
        # Jobs that were looked up before their row's turn, by the row's id, until its turn comes. None: the job takes
        # no place in the queue then, because it enters the queue by itself, or is over.
        self._ahead: dict[int, Job | None] = {}

    @property
    def is_over(self) -> bool:
        """Whether everything has been read, and all packets have been handed back."""
        return not self._rows.is_reading and not self._parked

    # --- rows in

    def note_stored(self, stored: Iterable[tuple[bytes, int]], now: float) -> None:
        """Note the functions and priorities that have rows. The queues of all others need not wait for any."""
        self._agenda.now = now
        self._rows.stored = frozenset(stored)
        for function in self._functions.by_name.values():
            for priority in PRIORITIES:
                if not self._rows.may_hold(function.name, priority):
                    self._end_queue(function, priority)

    def load(self, rows: Iterable[StoredJob], now: float) -> Iterator[tuple[int, str]]:
        """Take in the next rows of the current priority. Yields the ids of rows that can't be used, and why."""
        self._agenda.now = now
        returned: Counter[Function] = Counter()
        for row in rows:
            self._rows.last_id = row.id
            is_new = row.id not in self._ahead
            try:
                job = self._restore(row, now) if is_new else self._ahead.pop(row.id)
            except RefusedError as error:
                yield row.id, str(error)
                continue
            if job is not None:
                self._take_place(job, is_new=is_new)
                returned[job.function] += 1
        for function, jobs in returned.items():
            self._wake(function, jobs)

    def _take_place(self, job: Job, *, is_new: bool) -> None:
        queue = job.function.queues[job.priority]
        if not is_new:
            queue.ahead -= 1
        queue.restore(job)  # a job that has ended meanwhile becomes a tombstone

    def _restore(self, row: StoredJob, now: float) -> Job | None:
        job = self._comebacks.take(row, now)
        self.loaded += 1
        return job

    def end_of_priority(self, now: float) -> None:
        """Let new jobs follow, because all rows of the current priority have been read."""
        self._agenda.now = now
        priority = self._rows.priority
        self._rows.priority, self._rows.last_id = priority + 1, -1
        for function in self._functions.by_name.values():
            self._end_queue(function, priority)

    def _end_queue(self, function: Function, priority: int) -> None:
        """Make the queue an ordinary one: it has no unread rows any more."""
        queues = list(function.queues)
        queue = queues[priority]
        if not queue.is_read:
            queues[priority] = queue.as_read()
            high, normal, low = queues
            function.queues = (high, normal, low)
            if queues[priority]:
                self._wake(function, queues[priority].waiting)

    def _is_unread(self, row: StoredJob) -> bool:
        """Whether the row's turn has not come. A job that was read may have ended since, and must not come back."""
        return (row.priority, row.id) > (self._rows.priority, self._rows.last_id) and row.id not in self._ahead

    # --- requests that have to wait

    def admit(self, session: Session, packets: Iterable[Packet]) -> Sequence[Packet]:
        """Return those of a connection's packets that can be carried out now, in order, and keep the others."""
        packets = list(packets)
        if session in self._parked:
            self._park(session, packets)
            return ()
        if not self._rows.is_reading:
            return packets
        for at, packet in enumerate(packets):
            if self._wanted_by(packet):
                self._park(session, packets[at:])
                self._ask(session)
                return packets[:at]
        return packets

    def forget(self, session: Session) -> None:
        """Forget the packets of a connection that is gone."""
        self._parked.pop(session, None)

    def end(self, now: float) -> None:
        """Release all kept packets, because everything has been read."""
        self._agenda.now = now
        self._comebacks.end()
        self._rows.is_reading = False
        self._released.clear()
        for session, parked in self._parked.items():
            parked.asked = 0  # no row is unread any more: the packets are carried out as if they came now
            self._released.append((session, parked))

    def take_released(self) -> Iterator[Released]:
        """Yield packets that need wait no longer, in order. Carry each out before asking for the next."""
        while self._released:
            session, parked = self._released.popleft()
            if self._parked.get(session) is not parked:
                continue  # the connection is gone
            del self._parked[session]
            session.withheld_bytes -= parked.size_bytes
            for packet in parked.packets[: parked.asked]:
                is_refused = not parked.is_readable and bool(self._wanted_by(packet))
                yield Released(session, (packet,), Release.UNREADABLE if is_refused else Release.ASKED)
            if parked.asked < len(parked.packets):
                yield Released(session, parked.packets[parked.asked :], Release.BEHIND)

    def _park(self, session: Session, packets: list[Packet]) -> None:
        parked = self._parked.setdefault(session, _Parked([]))
        size_bytes = sum(len(body) + WITHHELD_REPLY_BYTES for _, body in packets)
        parked.packets += packets
        parked.size_bytes += size_bytes
        session.withheld_bytes += size_bytes  # towards the bound of the connection

    def _ask(self, session: Session) -> None:
        """Ask the store for all jobs that the kept packets name."""
        parked = self._parked[session]
        parked.asked = len(parked.packets)
        wanted = [want for packet in parked.packets for want in self._wanted_by(packet)]
        self._look_up(wanted, lambda found, now: self._answer(session, parked, found, now))

    def _answer(self, session: Session, parked: _Parked, found: Sequence[StoredJob] | None, now: float) -> None:
        self._agenda.now = now
        for row in found or ():
            self._bring_forward(row, now)
        if self._parked.get(session) is parked and self._rows.is_reading:  # else gone, or `end` has released it
            parked.is_readable = found is not None
            self._released.append((session, parked))

    def _bring_forward(self, row: StoredJob, now: float) -> None:
        """Make an unread row a job now; it takes its place in the queue when the row's turn comes."""
        if not self._is_unread(row):
            return
        try:
            job = self._restore(row, now)
        except RefusedError:
            return  # it is reported when the row's turn comes
        self._ahead[row.id] = None
        if job is not None:
            queue = job.function.queues[job.priority]
            if not queue.is_read:
                self._ahead[row.id] = job
                queue.ahead += 1
