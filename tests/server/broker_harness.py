"""A broker driven without sockets: peers that send packets and read replies, and a store that commits on demand."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from gearman_client.packet import (
    RESPONSE_MAGIC,
    Packet,
    PacketParser,
    PacketType,
)
from gearman_server.broker import Broker
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.access import Identity
from gearman_server.jobs.batch_rows import BatchRow, BatchRowsWritten, FollowedEnd
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.job import Job
from gearman_server.jobs.kept_results import KeptResult
from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRun
from gearman_server.jobs.session import Session
from gearman_server.jobs.store import ChangesWritten, InsertsFailed, KeyKind, KnownKey, Store, Verdict, submission_key
from gearman_server.text_commands.admin import ServerFacts

#: The wall clock of a broker without sockets at its start.
UNIX_TIME = 1_700_000_000.0
FACTS = ServerFacts(version="1.2.3", pid=4242, verbosity="INFO")

Received = tuple[int, bytes]


def decode(packets: bytes) -> list[Received]:
    """All response packets in a byte string."""
    parser = PacketParser(RESPONSE_MAGIC)
    decoded = parser.feed(packets)
    assert parser.violation is None
    assert parser.pending_bytes == 0
    return decoded


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of the server's code are executed: work, but not time, which depends on the machine."""
    lines = 0

    def count(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        if "gearman_server" not in frame.f_code.co_filename:  # the test's own peers read the replies
            return None
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines


class Peer:
    """One session of a broker: sends requests and takes the broker's replies."""

    def __init__(self, harness: BrokerHarness, identity: Identity) -> None:
        self._harness = harness
        self.session: Session = harness.broker.connect(identity, number=harness.next_number())

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self._harness.broker.receive(self.session, [(packet_type, b"\0".join(arguments))], self._harness.now)
        self.have_turns()

    def have_turns(self) -> None:
        """All turns that the session can use now, as if the peer read everything at once."""
        while self.session.has_piece or self.session.can_go_on:
            if self.session.has_piece:
                self.session.send_piece()
            else:
                self._harness.broker.go_on(self.session, self._harness.now)

    def take(self) -> list[Received]:
        """The packets that may leave now; this removes them from the out-buffer."""
        self._harness.broker.settle()
        return decode(self.take_bytes())

    def ask(self, packet_type: int, *arguments: bytes) -> list[Received]:
        self.send(packet_type, *arguments)
        return self.take()

    def text(self, line: bytes) -> bytes:
        """The answer to a text command, as on the wire."""
        self.send(0, line)
        while self.session.is_held:
            self._harness.broker.do_chore(self._harness.now)
        self.have_turns()
        return self.take_bytes()

    def begin(self, *packets: Packet) -> None:
        """Send packets as one read, after which nobody has a turn."""
        self._harness.broker.receive(self.session, packets, self._harness.now)

    def take_bytes(self) -> bytes:
        """The out-buffer, which is empty then."""
        data = b"".join(self.session.out)
        self.session.out.clear()
        return data

    def submit(self, function: bytes, workload: bytes = b"", unique: bytes = b"", kind: str = "SUBMIT_JOB") -> bytes:
        """Submits a job; its handle."""
        [(packet_type, handle)] = self.ask(PacketType[kind], function, unique, workload)
        assert packet_type == PacketType.JOB_CREATED
        return handle

    def can_do(self, *functions: bytes) -> Peer:
        for function in functions:
            self.send(PacketType.CAN_DO, function)
        return self

    def grab(self) -> bytes | None:
        """Grabs a job; its handle, or None."""
        [(packet_type, body)] = self.ask(PacketType.GRAB_JOB)
        if packet_type == PacketType.NO_JOB:
            return None
        assert packet_type == PacketType.JOB_ASSIGN
        return body.split(b"\0")[0]

    def grab_handle(self) -> bytes:
        """Grabs a job that must be there; its handle."""
        handle = self.grab()
        assert handle is not None
        return handle

    def grab_workload(self) -> bytes | None:
        [(packet_type, body)] = self.ask(PacketType.GRAB_JOB)
        return None if packet_type == PacketType.NO_JOB else body.split(b"\0", 2)[2]

    def leave(self) -> None:
        self._harness.broker.disconnect(self.session, "closed by the test")


class BatchStore:
    """Keeps rows in a dictionary; the test commits or fails the batches."""

    is_durable = True
    store_id = b"a-store"

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.batch: list[Job] = []
        self.in_flight: list[Job] = []
        self.updates: list[tuple[bytes, int]] = []
        self.cursors: dict[bytes, bytes | None] = {}
        self.letters: dict[bytes, DeadLetter] = {}
        self.results: dict[bytes, KeptResult] = {}
        self.marks: dict[str, ScheduleMark] = {}
        self.keys: dict[tuple[KeyKind, int], KnownKey] = {}
        self.rewrites: dict[Job, None] = {}
        self.pauses: dict[bytes, float | None] = {}
        self.stops: dict[bytes, None] = {}
        self.awaited: list[int] = []
        self.job_batches: dict[bytes, BatchRow] = {}
        self._serials: dict[bytes, int] = {}
        self._deletes: list[bytes] = []
        self.verdicts: deque[Verdict] = deque()
        self._number = 0

    def hand_over(self) -> None:
        """Does nothing: batches end when the test says so."""

    def take_numbers(self, at_most: int) -> range:
        self._number += at_most
        return range(self._number - at_most + 1, self._number + 1)

    def insert(self, job: Job) -> None:
        self.batch.append(job)

    def insert_again(self, job: Job) -> None:
        self.batch.append(job)

    def insert_owed(self, job: Job) -> None:
        if job not in self.unwritten():
            self.batch.append(job)

    def delete_followed(self, job: Job, end: FollowedEnd) -> None:
        self.delete(job)

    def keep_batch(self, row: BatchRow, *, is_awaited: bool) -> None:
        self.job_batches[row.name] = row
        self._serials[row.name] = row.serial

    def news_of_batches(self, *, are_written: bool) -> BatchRowsWritten:
        serials, self._serials = self._serials, {}
        return BatchRowsWritten(serials, are_written)

    def forget_batches(self, names: Sequence[bytes]) -> None:
        for name in names:
            self.job_batches.pop(name, None)

    def unwritten(self) -> list[Job]:
        return [*self.in_flight, *self.batch]

    def update(self, job: Job, *, is_cursor_alone: bool = False) -> None:
        if is_cursor_alone:
            self.cursors[job.handle] = job.rare.cursor
        else:
            self.updates.append((job.handle, job.attempt))

    def stop(self, job: Job) -> None:
        self.stops[job.handle] = None

    def await_changes(self, number: int) -> None:
        self.awaited.append(number)

    def bury(self, letter: DeadLetter) -> None:
        self.letters[letter.handle] = letter

    def forget_dead(self, handles: Sequence[bytes]) -> None:
        for handle in handles:
            self.letters.pop(handle, None)

    def keep(self, result: KeptResult) -> None:
        self.results[result.handle] = result

    def forget_results(self, handles: Sequence[bytes]) -> None:
        for handle in handles:
            self.results.pop(handle, None)

    def remember(self, key: KnownKey) -> None:
        self.keys[key.kind, key.number] = key

    def forget_keys(self, keys: Sequence[KnownKey]) -> None:
        for key in keys:
            self.keys.pop((key.kind, key.number), None)

    def rewrite(self, job: Job) -> None:
        self.rewrites[job] = None

    def note_run(self, run: ScheduleRun) -> None:
        self.mark_schedule(run.name, run.mark)

    def pause_schedule(self, name: str, mark: ScheduleMark, _identity: Identity) -> None:
        self.mark_schedule(name, mark)

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        self.marks[name] = mark

    def forget_schedules(self, names: Sequence[str]) -> None:
        for name in names:
            self.marks.pop(name, None)

    def set_pause(self, function: bytes, since: float | None) -> None:
        self.pauses[function] = since

    def delete(self, job: Job) -> None:
        if job in self.batch:
            self.batch.remove(job)
        else:
            self._deletes.append(job.handle)

    def start_commit(self) -> None:
        """The writer takes the batch: from here on an insert can't be taken back."""
        self.in_flight, self.batch = self.batch, []

    def write(self) -> list[Job]:
        """The commit has happened; returns the jobs to report."""
        for job in self.in_flight:
            self.rows[job.handle] = job.workload
            key = submission_key(job, 0.0)
            if key is not None:
                self.keys[key.kind, key.number] = key
        for job in self.rewrites:
            self.rows[job.handle] = job.workload
        for handle in self._deletes:
            self.rows.pop(handle, None)
        self._deletes.clear()
        self.verdicts.append(ChangesWritten(list(self.rewrites), awaited=list(self.awaited)))
        self.rewrites.clear()
        self.awaited.clear()
        written, self.in_flight = self.in_flight, []
        return written


class BrokerHarness:
    """A broker whose clock the test moves."""

    def __init__(self, settings: BrokerSettings, store: Store) -> None:
        self.now = 1000.0
        self.unix_time = UNIX_TIME
        #: The broker's random number, such that waits are neither shortened nor stretched.
        self.chance = 0.5
        self.broker = Broker(store, settings, FACTS, lambda: self.unix_time, lambda: self.chance)
        self._numbers = 0

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def peer(self, address: str = "192.0.2.1", unix_uid: int | None = None) -> Peer:
        return Peer(self, Identity(address, 50000, unix_uid))

    def worker(self, *functions: bytes) -> Peer:
        return self.peer().can_do(*functions)

    def advance(self, seconds: float) -> float | None:
        self.now += seconds
        self.unix_time += seconds
        return self.broker.tick(self.now)

    def do_chores(self) -> None:
        """Do all long work."""
        while self.broker.chores:
            self.broker.do_chore(self.now)

    def status(self, function: bytes) -> tuple[int, int, int]:
        """The total, running and worker counts of a function, as in `status`."""
        for line in self.peer().text(b"status").splitlines():
            name, *counts = line.split(b"\t")
            if name == function:
                total, running, workers = map(int, counts)
                return total, running, workers
        return 0, 0, 0


class DurableBroker(BrokerHarness):
    """A broker over a durable store that commits or fails on demand."""

    def __init__(self, settings: BrokerSettings, store: BatchStore) -> None:
        super().__init__(settings, store)
        self.store = store

    def commit(self) -> None:
        self.store.start_commit()
        self.broker._inserts.written(self.store.write())
        self.tell(self.store.news_of_batches(are_written=True))

    def fail(self, *, are_unknown: bool = False, are_refused: bool = False) -> None:
        self.store.start_commit()
        failed, self.store.in_flight = self.store.in_flight, []
        self.broker._inserts.failed(InsertsFailed(failed, are_unknown, are_refused))
        self.tell(self.store.news_of_batches(are_written=False))

    def tell(self, news: Verdict) -> None:
        """The store reports its health."""
        self.store.verdicts.append(news)
        self.broker.settle()
