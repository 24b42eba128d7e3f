"""A broker for which the test hands over the stored jobs, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gearman_client.packet import PacketType
from gearman_server.jobs.store import ChangesWritten, StoredJob, Wanted

from ..broker_harness import BatchStore, BrokerHarness, Peer

ASSIGNED = PacketType.JOB_ASSIGN
CREATED = PacketType.JOB_CREATED


Answer = Callable[[Sequence[StoredJob] | None, float], None]


def stored(
    number: int, priority: int = 1, unique: bytes = b"", workload: bytes | None = None, **changes: Any
) -> StoredJob:
    fields: dict[str, Any] = {
        "id": number,
        "was_running": False,
        "was_stopped": False,
        "priority": priority,
        "requeues": 0,
        "failures": 0,
        "run_at": None,
        "submitted_at": 0.0,
        "handle": b"H:old:%d" % number,
        "function": b"f",
        "unique": unique,
        "error": None,
        "reducer": None,
        "workload": b"old %d" % number if workload is None else workload,
    }
    return StoredJob(**{**fields, **changes})


class Replayed:
    """A broker over a durable store whose rows the test hands over."""

    def __init__(self, make_broker: Callable[..., BrokerHarness], batch_store: BatchStore) -> None:
        self.harness = make_broker(store=batch_store)
        self.store = batch_store
        self.questions: list[tuple[Sequence[Wanted], Answer]] = []
        self.replay = self.harness.broker.start_replay(self)

    def look_up(self, wanted: Sequence[Wanted], answer: Answer) -> None:
        self.questions.append((wanted, answer))

    def once_written(self, peer: Peer, line: bytes) -> bytes:
        """The answer to a text command, once the store has written what it did."""
        assert peer.text(line) == b""
        self.write_changes()
        return peer.take_bytes()

    def write_changes(self) -> None:
        """The store has written the changes for which somebody waits."""
        self.store.verdicts.append(ChangesWritten(stops=tuple(self.store.stops), awaited=tuple(self.store.awaited)))
        self.harness.broker.settle()

    def answer(self, *rows: StoredJob) -> None:
        """The answer to the oldest question, and the end of the pass in which it comes."""
        _, answer = self.questions.pop(0)
        answer(rows, self.harness.now)
        self.harness.broker.settle()

    def load(self, *rows: StoredJob) -> list[tuple[int, str]]:
        return list(self.replay.load(rows, self.harness.now))

    def read_to(self, priority: int) -> None:
        """Report that all rows of higher priorities have been read."""
        for _ in range(priority):
            self.replay.end_of_priority(self.harness.now)

    def end(self) -> None:
        self.replay.end_of_priority(self.harness.now)
        self.harness.broker.end_replay(self.harness.now)

    def commit(self) -> None:
        self.store.start_commit()
        self.harness.broker._inserts.written(self.store.write())


def submit(
    peer: Peer, workload: bytes, unique: bytes = b"", kind: int = PacketType.SUBMIT_JOB
) -> list[tuple[int, bytes]]:
    return peer.ask(kind, b"f", unique, workload)


def workloads(worker: Peer) -> list[bytes]:
    taken = []
    while (workload := worker.grab_workload()) is not None:
        taken.append(workload)
    return taken
