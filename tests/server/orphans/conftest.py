"""A broker that adopts the jobs of a dead server."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from gearman_client.extensions import (
    JOB_ATTEMPT_OPTION,
    ORPHAN_GONE,
    ORPHAN_RUNS,
    ORPHAN_WORK,
    ORPHANED_JOBS_OPTION,
    STORE_ID,
)
from gearman_client.packet import PacketType, encode_request
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.job import NORMAL
from gearman_server.jobs.store import StoredJob

from ..broker_harness import BatchStore, DurableBroker, Peer

_NUMBERS = itertools.count(1)


class Heir(DurableBroker):
    """A server that gets the jobs of a dead one."""

    def __init__(self) -> None:
        super().__init__(BrokerSettings(), BatchStore())
        self.adoption = self.broker.take_part().adoption

    def row(self, *, was_running: bool = True, **values: Any) -> StoredJob:
        """The row of a job; if it was running, its loss is counted already, as in the store."""
        number = next(_NUMBERS)
        plain: dict[str, Any] = {"was_stopped": False, "priority": NORMAL, "failures": 0, "run_at": None}
        plain |= {"unique": b"", "error": None, "reducer": None, "workload": b"w%d" % number, "submitted_at": 1.0}
        own = {"id": number, "was_running": was_running, "requeues": int(was_running)}
        return StoredJob(**(plain | own | {"handle": b"H:dead:%d" % number, "function": b"f"} | values))

    def adopt(self, *rows: StoredJob, wait_s: float = 1.5, has_left: bool = False) -> None:
        """Adopt these rows, and wait so long for words."""
        assert list(self.adoption.take_in(rows, self.now, self.now + wait_s, has_left=has_left)) == []

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all work that is due then."""
        self.advance(seconds)
        self.do_chores()

    def speaker(self, client_id: bytes = b"gm:m/f/1", address: str = "192.0.2.1") -> Peer:
        """A worker of ours that can do `f`, or a supervisor."""
        peer = self.peer(address).can_do(b"f")
        peer.send(PacketType.SET_CLIENT_ID, client_id)
        peer.send(PacketType.OPTION_REQ, JOB_ATTEMPT_OPTION)
        peer.send(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)
        assert peer.take()[-1] == (STORE_ID, b"a-store")
        return peer

    def state(self, row: StoredJob) -> str:
        """The state of its job; empty if it is over."""
        job = self.broker.table.jobs.get(row.handle)
        return job.state.value if job is not None else ""

    def grabs(self) -> Sequence[bytes]:
        """The handles that a new worker gets, one after the other."""
        worker = self.worker(b"f")
        got = []
        while (handle := worker.grab()) is not None:
            got.append(handle)
        return got


def says_it_runs(peer: Peer, row: StoredJob, client_id: bytes = b"", attempt: int = 1, elapsed_ms: int = 0) -> None:
    peer.send(ORPHAN_RUNS, row.handle, client_id, b"%d" % attempt, b"%d" % elapsed_ms)


def says_it_is_gone(peer: Peer, row: StoredJob, client_id: bytes) -> None:
    peer.send(ORPHAN_GONE, row.handle, client_id)


def sends(
    peer: Peer, row: StoredJob, *arguments: bytes, kind: int = PacketType.WORK_COMPLETE, attempt: int = 1
) -> None:
    peer.send(ORPHAN_WORK, row.handle, b"%d" % attempt, encode_request(kind, row.handle, *arguments))


@pytest.fixture
def heir() -> Heir:
    return Heir()
