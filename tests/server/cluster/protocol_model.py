"""A model of the database that servers share, and servers on it whose brokers, watches and leases are the real ones.

The database keeps rows with owners, the servers' fences, and beats. A transaction holds its server's fence until it
commits or is ended; so a step of another server can come between any two. Each server has a monotonic clock of its own.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from gearman_client.packet import PacketType
from gearman_server.broker_settings import BrokerSettings
from gearman_server.cluster.members import Member, MemberState
from gearman_server.cluster.watch import Watch, trusted_until
from gearman_server.jobs.events import Event, StoreFenced
from gearman_server.jobs.job import NORMAL, WRITTEN, Job
from gearman_server.jobs.store import InsertsFailed, InsertsWritten, StoredJob, number_of
from gearman_server.orphans.orphans import WORD_S

from ..broker_harness import BatchStore, BrokerHarness

LEASE_S = 2.5
PAGE = 3


class BrokenRuleError(AssertionError):
    """An invariant of the protocol does not hold."""


def must(is_true: bool, rule: str) -> None:
    """Raise BrokenRuleError unless it is true."""
    if not is_true:
        raise BrokenRuleError(rule)


@dataclass(frozen=True)
class Row:
    """A job's row."""

    handle: bytes
    owner: int
    is_running: bool = False
    losses: int = 0

    def stored(self) -> StoredJob:
        """As it is read."""
        number, plain = number_of(self.handle), (b"f", b"", None, None, b"w")
        return StoredJob(number, self.is_running, False, NORMAL, self.losses, 0, None, 1.0, self.handle, *plain)


@dataclass
class Transaction:
    """One that is open: it holds its owner's fence, and these rows."""

    owner: int
    locked: set[int] = field(default_factory=set)
    changes: list[Callable[[], None]] = field(default_factory=list)
    is_over: bool = False


class ModelDatabase:
    """All tables, and the transactions that are open."""

    def __init__(self, *, checks_fence: bool = True, checks_owner: bool = True) -> None:
        self.checks_fence = checks_fence
        self.checks_owner = checks_owner
        self.rows: dict[int, Row] = {}
        self.names: dict[int, str] = {}
        self.states: dict[int, MemberState] = {}
        self.beats: dict[int, int] = {}
        self.open: list[Transaction] = []
        self.is_away = False
        self._ids = count(1_000_000, 1_000_000)

    def register(self, name: str) -> int:
        """A new server's id."""
        number = next(self._ids)
        self.names[number], self.states[number], self.beats[number] = name, MemberState.ALIVE, 1
        return number

    def members(self) -> list[Member]:
        """As each beat reads them."""
        return [Member(n, self.names[n], "", "", self.states[n], self.beats.get(n), b"") for n in sorted(self.names)]

    def is_alive(self, number: int) -> bool:
        """Whether that server is not fenced."""
        return self.states.get(number) is MemberState.ALIVE

    def begin(self, owner: int) -> Transaction | None:
        """A transaction that holds the fence; None: that server is fenced."""
        if self.checks_fence and not self.is_alive(owner):
            return None
        self.open.append(Transaction(owner))
        return self.open[-1]

    def commit(self, transaction: Transaction) -> None:
        """All its changes happen now."""
        must(self.is_alive(transaction.owner), "nothing that a fenced server writes commits after the fence")
        for change in transaction.changes:
            change()
        self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """None of its changes ever happens, unless it was committed."""
        transaction.is_over = True
        self.open.remove(transaction)

    def declare_dead(self, number: int, *, ends_blockers: bool) -> bool:
        """Fence that server. False: a transaction of that server is in the way."""
        if not self.is_alive(number):
            return True
        blockers = [each for each in self.open if each.owner == number] if self.checks_fence else []
        if blockers and not ends_blockers:
            return False
        for transaction in blockers:
            self.end(transaction)
        self.states[number] = MemberState.DEAD
        return True

    def lock_page(self, transaction: Transaction, dead: int) -> list[Row]:
        """Some rows of a dead server, which are the transaction's owner's once it commits."""
        taken = set().union(*(each.locked for each in self.open)) if self.checks_owner else set()
        page = [row for number, row in sorted(self.rows.items()) if row.owner == dead and number not in taken][:PAGE]
        for row in page:
            transaction.locked.add(number_of(row.handle))
            transaction.changes.append(partial(self._adopt, row, transaction.owner))
        return page

    def _adopt(self, row: Row, owner: int) -> None:
        number = number_of(row.handle)
        found = self.rows.get(number)
        if found is None or (self.checks_owner and found.owner != row.owner):
            return
        must(not self.is_alive(found.owner), "a row's owner changes only after a fence")
        self.rows[number] = replace(found, owner=owner, is_running=False, losses=found.losses + found.is_running)

    def bury(self, number: int) -> None:
        """Forget a dead server that has no row."""
        if all(row.owner != number for row in self.rows.values()):
            for table in (self.names, self.states, self.beats):
                table.pop(number, None)


class ModelStore(BatchStore):
    """What the broker hands over, until the server's next batch."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[Job, None] = {}
        self.deleted: list[bytes] = []
        self.next_number = 0

    def take_numbers(self, at_most: int) -> range:
        """Numbers of the server's own block."""
        self.next_number += at_most
        return range(self.next_number - at_most, self.next_number)

    def update(self, job: Job, *, is_cursor_alone: bool = False) -> None:
        """Note that a worker has it, or has it no longer."""
        self.changed[job] = None

    def delete(self, job: Job) -> None:
        """Withdraw its insert, or delete its row with the next batch."""
        self.changed.pop(job, None)
        if job in self.batch:
            self.batch.remove(job)
        else:
            self.deleted.append(job.handle)


class History:
    """What the clients and workers of all servers have seen."""

    def __init__(self) -> None:
        self.acknowledged: set[bytes] = set()
        self.ended: set[bytes] = set()
        self.assigned: dict[bytes, set[int]] = defaultdict(set)


class ModelServer(BrokerHarness):
    """One process. What it asks the database for is answered in its inbox, which it reads when it runs."""

    def __init__(self, name: str, database: ModelDatabase, history: History, clock: tuple[float, float]) -> None:
        self.store = ModelStore()
        super().__init__(BrokerSettings(), self.store)
        self.name, self.database, self.history = name, database, history
        self._start, self._rate = clock
        self.now = self._start
        self.part = self.broker.take_part()
        self.watch = Watch(LEASE_S)
        self.is_still = self.is_cut = self.is_fenced = False
        self.inbox: deque[Callable[[], None]] = deque()
        self.accused: list[int] = []
        #: What the writer's thread has begun, and what is to be told when it has committed, or has failed.
        self.work: tuple[Transaction, Callable[[], None], Callable[[], None]] | None = None
        self.dead_since: dict[int, float] = {}
        self._beaten: list[float] = []
        self.broker.events.subscribe(self._on_fenced, StoreFenced)
        for number, member_name in list(database.names.items()):
            if member_name == name:
                must(database.declare_dead(number, ends_blockers=True), "a predecessor is fenced at the start")
        self._enter()
        self.client, self.jobs_worker = self.peer(), self.worker(b"f")

    def _enter(self) -> None:
        self.id = self.database.register(self.name)
        self.store.next_number = self.id
        self.trusted_until = trusted_until(self.now, LEASE_S)
        self.watch = Watch(LEASE_S)
        self._beaten = []

    @property
    def reaches(self) -> bool:
        """Whether the database answers it."""
        return not (self.is_cut or self.database.is_away)

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, whether the server runs or not."""
        self.now += seconds * self._rate
        self.unix_time += seconds

    def run(self) -> None:
        """One pass of its loop: first the guard, as in `before_all`."""
        if self.is_still:
            return
        if self.now >= self.trusted_until:
            self.part.durable_jobs.withhold()
        self.broker.tick(self.now)
        self.do_chores()
        while self.inbox:
            self.inbox.popleft()()
            self.broker.settle()
            self.do_chores()
        self._read_answers()

    # --- beats

    def beat(self) -> None:
        """Count up, and read the members."""
        if self.is_still or self.is_fenced or not self.reaches:
            return
        if self.id in self.database.beats:
            self.database.beats[self.id] += 1
        self.inbox.append(partial(self._on_beat, self.id, self.now, self.database.members()))

    def _on_beat(self, number: int, sent_at: float, members: list[Member]) -> None:
        if number != self.id or self.is_fenced:
            return
        self.broker.note_time(self.now)
        own = next((member for member in members if member.id == self.id), None)
        if own is None or own.state is MemberState.DEAD:
            self._lose()
            return
        self._beaten.append(self.now)
        self.trusted_until = trusted_until(sent_at, LEASE_S)
        if self.now < self.trusted_until:
            self.part.durable_jobs.give_out()
        self.part.follow(members, self.id)
        self.accused = self.watch.overdue(members, self.id, self.now)
        if self.accused:
            self._check_that_it_may_accuse()
        dead = [member.id for member in members if member.state is not MemberState.ALIVE]
        self.dead_since = {each: self.dead_since.get(each, self.now) for each in dead}

    def _check_that_it_may_accuse(self) -> None:
        """Its own beats of a whole lease have succeeded, without a gap."""
        since = self.now
        for beaten in reversed(self._beaten):
            if since - beaten > LEASE_S:
                break
            since = beaten
        must(self.now - since > LEASE_S, "who accuses has reached the database for a whole lease")

    def accuse(self, *, ends_blockers: bool) -> None:
        """Fence whom it has found overdue."""
        if not self.is_still and self.reaches:
            self.accused = [n for n in self.accused if not self.database.declare_dead(n, ends_blockers=ends_blockers)]

    # --- the writer's thread: one transaction at a time

    def begin_batch(self) -> None:
        """Begin to write what the broker has handed over."""
        if self.work is not None or self.is_still or self.is_fenced or not self.reaches:
            return
        store = self.store
        if not (store.batch or store.changed or store.deleted):
            return
        transaction = self.database.begin(self.id)
        inserts, store.batch = store.batch, []
        store.in_flight = inserts
        changed, store.changed = store.changed, {}
        deleted, store.deleted = store.deleted, []
        failed = partial(self._on_failed, inserts)
        if transaction is None:
            self.inbox.append(failed)
            return
        rows = self.database.rows
        for job in inserts:
            row = Row(job.handle, self.id, is_running=job.worker is not None)
            transaction.changes.append(partial(rows.__setitem__, number_of(job.handle), row))
        for job in changed:
            transaction.changes.append(partial(self._update, self.id, job.handle, job.worker is not None, job.attempt))
        for handle in deleted:
            transaction.changes.append(partial(self._delete, self.id, handle))
        self.work = transaction, partial(self._on_written, inserts), failed

    def _update(self, owner: int, handle: bytes, is_running: bool, attempt: int) -> None:
        row = self.database.rows.get(number_of(handle))
        if row is not None and row.owner == owner:
            self.database.rows[number_of(handle)] = replace(row, is_running=is_running, losses=max(0, attempt - 1))

    def _delete(self, owner: int, handle: bytes) -> None:
        row = self.database.rows.get(number_of(handle))
        if row is not None and row.owner == owner:
            del self.database.rows[number_of(handle)]

    def begin_page(self, dead: int) -> None:
        """Begin to adopt some rows of that server."""
        if self.work is not None or self.is_still or self.is_fenced or not self.reaches:
            return
        if dead not in self.dead_since or (transaction := self.database.begin(self.id)) is None:
            return
        page = self.database.lock_page(transaction, dead)
        rows = [row.stored()._replace(requeues=row.losses + row.is_running) for row in page]
        self.work = transaction, partial(self._on_page, self.id, dead, rows), lambda: None

    def commit(self) -> None:
        """What was begun commits, unless it was ended; a server that stands still has sent its COMMIT already."""
        if self.work is None:
            return
        (transaction, written, failed), self.work = self.work, None
        if transaction.is_over:
            self.inbox.append(failed)
        else:
            self.database.commit(transaction)
            self.inbox.append(written)

    def _on_written(self, inserts: list[Job]) -> None:
        self.store.in_flight = []
        self.store.verdicts.append(InsertsWritten(inserts))

    def _on_failed(self, inserts: list[Job]) -> None:
        self.store.in_flight = []
        self.store.verdicts.append(InsertsFailed(inserts))
        self._lose()

    def _on_page(self, number: int, dead: int, rows: list[StoredJob]) -> None:
        if number != self.id or self.is_fenced:
            return
        until = self.dead_since.get(dead, self.now) + WORD_S
        list(self.part.adoption.take_in(rows, self.now, until))
        if not rows:
            self.part.adoption.end()
            self.database.bury(dead)

    # --- fenced

    def _lose(self) -> None:
        self.store.changed.clear()
        self.store.deleted.clear()
        self.store.verdicts.append(StoreFenced())

    def _on_fenced(self, _event: Event) -> None:
        if self.is_fenced:
            return
        self.is_fenced = True
        self.part.durable_jobs.withhold()
        self.part.durable_jobs.let_go(lambda: self.inbox.append(self._come_back))

    def _come_back(self) -> None:
        if not self.reaches or self.work is not None:
            self._waits_to_come_back = True
            return
        self._waits_to_come_back = False
        self._enter()
        self.is_fenced = False
        self.part.durable_jobs.give_out()

    _waits_to_come_back = False

    def try_again(self) -> None:
        """Come back, if that was not possible before."""
        if self._waits_to_come_back and not self.is_still:
            self.inbox.append(self._come_back)

    # --- clients and workers

    def submit(self, how_many: int) -> None:
        """A client submits background jobs."""
        if self.is_still:
            return
        for _ in range(how_many):
            self.client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
        self._read_answers()

    def _read_answers(self) -> None:
        for packet_type, body in self.client.take():
            if packet_type == PacketType.JOB_CREATED:
                self.history.acknowledged.add(body)

    def serve(self) -> bytes | None:
        """A worker asks for a job."""
        if self.is_still:
            return None
        self.run()
        self.jobs_worker.send(PacketType.GRAB_JOB)
        packet_type, body = self.jobs_worker.ask(PacketType.ECHO_REQ, b"")[0]  # no reply overtakes another
        if packet_type != PacketType.JOB_ASSIGN:
            return None
        handle = body.split(b"\0")[0]
        job = self.broker.table.jobs[handle]
        if job.record is WRITTEN:
            must(self.now < self.trusted_until, "durable jobs are assigned within the local lease only")
            must(self.database.is_alive(self.id), "no durable job is assigned by a server that others have fenced")
        for other in self.history.assigned[handle] - {self.id}:
            must(not self.database.is_alive(other), "no job is assigned by two servers unless the first was fenced")
        self.history.assigned[handle].add(self.id)
        return handle

    def complete(self) -> None:
        """Its worker ends one of its jobs."""
        if self.is_still or not self.jobs_worker.session.assigned:
            return
        handle = next(iter(self.jobs_worker.session.assigned))
        self.jobs_worker.send(PacketType.WORK_COMPLETE, handle, b"")
        self.history.ended.add(handle)
        self.run()

    def will_write(self, handle: bytes) -> bool:
        """Whether it holds this job, and is about to write it."""
        job = self.broker.table.jobs.get(handle)
        return job is not None and (job in self.store.unwritten() or job.worker is not None)
