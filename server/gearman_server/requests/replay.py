"""Jobs of an earlier run come back from the store, page by page, while clients and workers are served already. Pure.

Rows are read by priority and then by age, so whatever a worker can be given is what it would have been given without
the restart. New jobs queue behind the rows of their priority that are still unread. A request that names a unique key
or a handle which is not in memory waits, and with it its connection alone, until the store has been asked for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import GET_RESULT
from gearman_client.packet import Packet, PacketType
from gearman_server.errors import RefusedError
from gearman_server.jobs.function import JobQueue
from gearman_server.jobs.job import PRIORITIES, Job, JobState, coalescing_key
from gearman_server.jobs.replies import error
from gearman_server.jobs.restoring import restore
from gearman_server.jobs.session import WITHHELD_REPLY_BYTES
from gearman_server.jobs.store import StoredJob, Unread, Wanted

if TYPE_CHECKING:
    from gearman_server.jobs.attempts import Attempts
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.session import Session

_WITH_UNIQUE: Final = frozenset(
    {
        PacketType.SUBMIT_JOB,
        PacketType.SUBMIT_JOB_HIGH,
        PacketType.SUBMIT_JOB_LOW,
        PacketType.SUBMIT_JOB_BG,
        PacketType.SUBMIT_JOB_HIGH_BG,
        PacketType.SUBMIT_JOB_LOW_BG,
        PacketType.SUBMIT_JOB_EPOCH,
        PacketType.SUBMIT_REDUCE_JOB,
        PacketType.SUBMIT_REDUCE_JOB_BACKGROUND,
    }
)
#: How many arguments stand before the workload.
_ARGUMENTS: Final = {
    PacketType.SUBMIT_JOB_EPOCH: 3,
    PacketType.SUBMIT_REDUCE_JOB: 4,
    PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: 4,
}


_NOT_READABLE: Final = error(b"QUEUE_ERROR", b"The store can't be asked for the job")


class ReplayQueue(JobQueue):
    """A queue while older jobs for it are still unread: it holds those that were read, and the new ones apart."""

    def __init__(self) -> None:
        super().__init__()
        self.behind: JobQueue = JobQueue()
        #: Jobs that requests asked for before they were read: in memory, in no queue yet.
        self.ahead = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait here."""
        return len(self) + len(self.behind) + self.ahead - self.tombstones

    def append(self, job: Job) -> None:
        """A new job, or one that is to be run again: behind all that is unread."""
        self.behind.append(job)

    def restore(self, job: Job) -> None:
        """The next of the unread jobs."""
        super().append(job)

    def bury(self) -> None:
        """One of the jobs in here has just ended; it may be one that is in no queue yet."""
        self.tombstones += 1

    def as_read(self) -> JobQueue:
        """An ordinary queue of the same jobs: everything has been read."""
        queue = JobQueue(self)
        queue.extend(self.behind)
        queue.tombstones = self.tombstones
        return queue


@dataclass(slots=True)
class _Parked:
    """Packets of a connection of which the first has to wait for an answer of the store."""

    packets: list[Packet]
    size_bytes: int = 0
    #: How many of them the store has been asked for.
    asked: int = 0


@dataclass(slots=True)
class _Progress:
    """How far the rows have been read."""

    priority: int = PRIORITIES[0]
    last_id: int = -1
    loaded: int = field(default=0)


class Replay:
    """Brings stored jobs back into the table, and holds up only what can't be answered without them."""

    def __init__(
        self,
        table: JobTable,
        attempts: Attempts,
        unread: Unread,
        carry_out: Callable[[Session, list[Packet], float], None],
        answer_grab: Callable[[Session, float], None],
    ) -> None:
        self._table = table
        self._attempts = attempts
        self._unread = unread
        self._carry_out = carry_out
        self._answer_grab = answer_grab
        # While packets are carried out for which the store has been asked.
        self._admits_all = False
        self._progress = _Progress()
        self._parked: dict[Session, _Parked] = {}
        # Functions and priorities that have rows at all; None: not known yet.
        self._stored: frozenset[tuple[bytes, int]] | None = None
        # What was in memory before its row's turn, by the row's id, until that comes. None: no place in the queue is
        # kept for it, for it had to wait for its time and enters the queue by itself, or has had its attempts.
        self._ahead: dict[int, Job | None] = {}

    @property
    def loaded(self) -> int:
        """How many jobs have come back."""
        return self._progress.loaded

    # --- rows in

    def prepare(self, function: Function) -> None:
        """A function came into existence: its queues are those of a replay, as far as it may have unread jobs."""
        high, normal, low = (
            ReplayQueue() if self._may_be_unread(function.name, priority) else JobQueue() for priority in PRIORITIES
        )
        function.queues = (high, normal, low)

    def _may_be_unread(self, name: bytes, priority: int) -> bool:
        return priority >= self._progress.priority and (self._stored is None or (name, priority) in self._stored)

    def note_stored(self, stored: Iterable[tuple[bytes, int]], now: float) -> None:
        """These functions and priorities have rows, and no other has: who has none waits for nothing."""
        self._table.now = now
        self._stored = frozenset(stored)
        for function in self._table.functions.values():
            for priority in PRIORITIES:
                if not self._may_be_unread(function.name, priority):
                    self._end_queue(function, priority)

    def load(self, rows: Iterable[StoredJob], now: float) -> Iterator[tuple[int, str]]:
        """The next rows of the priority that is being read. Yields ids of rows that can't be used, and why."""
        self._table.now = now
        returned: Counter[Function] = Counter()
        for row in rows:
            self._progress.last_id = row.id
            is_new = row.id not in self._ahead
            try:
                job = self._restore(row, now) if is_new else self._ahead.pop(row.id)
            except RefusedError as error:
                yield row.id, str(error)
                continue
            if job is not None and job.state is not JobState.DELAYED:
                self._take_place(job, is_new=is_new)
                returned[job.function] += 1
        for function, jobs in returned.items():
            self._table.wake(function, jobs)

    def _take_place(self, job: Job, *, is_new: bool) -> None:
        queue = job.function.queues[job.priority]
        assert isinstance(queue, ReplayQueue)
        if not is_new:
            queue.ahead -= 1
        queue.restore(job)  # as a tombstone, if it has ended meanwhile

    def _restore(self, row: StoredJob, now: float) -> Job | None:
        """The job in memory, in no queue yet; None when it has had its attempts."""
        if row.handle in self._table.jobs:
            raise RefusedError(b"", b"its handle belongs to another job")
        job = restore(self._table, row, now)
        self._progress.loaded += 1
        return None if row.was_running and not self._attempts.lose_server(job) else job

    def end_of_priority(self, now: float) -> None:
        """All rows of the priority have been read: new jobs follow."""
        self._table.now = now
        priority = self._progress.priority
        self._progress.priority, self._progress.last_id = priority + 1, -1
        for function in self._table.functions.values():
            self._end_queue(function, priority)

    def _end_queue(self, function: Function, priority: int) -> None:
        """Nothing that is unread belongs in front of what has been submitted since."""
        queues = list(function.queues)
        queue = queues[priority]
        if isinstance(queue, ReplayQueue):
            queues[priority] = queue.as_read()
            high, normal, low = queues
            function.queues = (high, normal, low)
            if queues[priority]:
                self._table.wake(function, queues[priority].waiting)

    def _is_unread(self, row: StoredJob) -> bool:
        """Whether the row's turn has not come. One that was read may have ended since, and must not rise again."""
        progress = self._progress
        return (row.priority, row.id) > (progress.priority, progress.last_id) and row.id not in self._ahead

    # --- requests that have to wait

    def admit(self, session: Session, packets: Iterable[Packet]) -> Sequence[Packet]:
        """Those of a connection's packets that can be carried out now, in order; the others are kept."""
        packets = list(packets)
        if self._admits_all:
            return packets
        if session in self._parked:
            self._park(session, packets)
            return ()
        for at, packet in enumerate(packets):
            if self._wants(packet) is not None:
                self._park(session, packets[at:])
                self._ask(session)
                return packets[:at]
        return packets

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._parked.pop(session, None)

    def end(self, now: float) -> None:
        """Everything has been read: what was kept is carried out."""
        released, self._parked = self._parked, {}
        for session, parked in released.items():
            session.withheld_bytes -= parked.size_bytes
            self._resume(session, parked.packets, now)
            self._table.touched.add(session)

    def _resume(self, session: Session, packets: list[Packet], now: float) -> None:
        self._admits_all = True
        self._carry_out(session, packets, now)
        self._admits_all = False

    def _park(self, session: Session, packets: list[Packet]) -> None:
        parked = self._parked.setdefault(session, _Parked([]))
        size_bytes = sum(len(body) + WITHHELD_REPLY_BYTES for _, body in packets)
        parked.packets += packets
        parked.size_bytes += size_bytes
        session.withheld_bytes += size_bytes  # towards the bound of the connection

    def _ask(self, session: Session) -> None:
        """Ask for all that the kept packets name."""
        parked = self._parked[session]
        parked.asked = len(parked.packets)
        wanted = [want for packet in parked.packets if (want := self._wants(packet)) is not None]
        self._unread.look_up(wanted, lambda found, now: self._answer(session, parked, found, now))

    def _answer(self, session: Session, parked: _Parked, found: Sequence[StoredJob] | None, now: float) -> None:
        for row in found or ():
            self._bring_forward(row, now)
        if self._parked.get(session) is not parked:
            return  # gone, or released by the end of the replay
        del self._parked[session]
        session.withheld_bytes -= parked.size_bytes
        for packet in parked.packets[: parked.asked]:
            if found is None and self._wants(packet) is not None:
                self._answer_grab(session, now)  # no reply overtakes another
                session.reply(_NOT_READABLE)
            else:
                self._resume(session, [packet], now)
        self._table.touched.add(session)
        if parked.asked < len(parked.packets):
            self._carry_out(session, parked.packets[parked.asked :], now)

    def _bring_forward(self, row: StoredJob, now: float) -> None:
        """A row that is not read yet becomes a job now; it takes its place in the queue when its turn comes."""
        if not self._is_unread(row):
            return
        try:
            job = self._restore(row, now)
        except RefusedError:
            return  # its turn will tell
        self._ahead[row.id] = None
        if job is not None and job.state is JobState.QUEUED:
            queue = job.function.queues[job.priority]
            if isinstance(queue, ReplayQueue):
                self._ahead[row.id] = job
                queue.ahead += 1

    def _wants(self, packet: Packet) -> Wanted | None:
        """The stored job that a request may mean, if it is not in memory."""
        packet_type, body = packet
        if packet_type in _WITH_UNIQUE:
            return self._wanted_by_submission(packet_type, body)
        if packet_type == GET_RESULT:
            handle = body.partition(b"\0")[0]
            return self._wanted_handle(handle) if self._table.results.kept.get(handle) is None else None
        if packet_type == PacketType.GET_STATUS:
            return self._wanted_handle(body.partition(b"\0")[0])
        if packet_type == PacketType.GET_STATUS_UNIQUE:
            unique = body.partition(b"\0")[0]
            known = any(unique in function.by_key for function in self._table.functions.values())
            return None if known or unique in (b"", b"-") else Wanted(unique=unique)
        if packet_type == 0:  # a text command that names a job, such as `cancel job H:host:1`
            handles = (word for word in body.split()[1:] if word.rpartition(b":")[2].isdigit() and b":" in word)
            return next((want for word in handles if (want := self._wanted_handle(word)) is not None), None)
        return None

    def _wanted_handle(self, handle: bytes) -> Wanted | None:
        return None if handle in self._table.jobs else Wanted(handle=handle)

    def _wanted_by_submission(self, packet_type: int, body: bytes) -> Wanted | None:
        arguments = body.split(b"\0", _ARGUMENTS.get(PacketType(packet_type), 2))
        if len(arguments) < 3 or not arguments[1]:
            return None  # refused in its turn, or a job of its own
        name, unique, workload = arguments[0], arguments[1], arguments[-1]
        key = coalescing_key(unique, workload)
        function = self._table.functions.get(name)
        if key is None or (function is not None and key in function.by_key):
            return None
        if not any(self._may_be_unread(name, priority) for priority in PRIORITIES):
            return None
        return Wanted(unique=unique, function=name, workload=workload if unique == b"-" else None)
