"""A worker's process as the supervisor holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gearman_manager.logs.output import ChildOutput
from gearman_manager.pools.pool import Pool, PoolWorker
from gearman_manager.pools.pool_order import PoolOrder
from gearman_manager.pools.worker_slots import WorkerSlots


@dataclass(slots=True)
class LiveWorker:
    """From the order to start it until it is gone. Times are monotonic seconds."""

    worker: PoolWorker
    pool: Pool
    order: PoolOrder
    slots: WorkerSlots
    output: ChildOutput
    started_at: float
    client_id: str  # what it calls itself towards job servers
    expires_at: float | None  # by `max_lifetime`
    pid: int = 0
    pidfd: int = -1
    watcher: Any = None
    kill_at: float | None = None
    doom: str = ""  # why we killed it, when that was no stop

    @property
    def name(self) -> str:
        """POOL/N."""
        return self.worker.name

    @property
    def is_program(self) -> bool:
        """A command pool's worker: it has no scoreboard, and nobody knows when it has registered."""
        return self.order.pool.command is not None

    @property
    def where(self) -> dict[str, Any]:
        """The fields of a log line about it."""
        return {"pool": self.pool.name, "worker": self.name, "pid": self.pid or None}


@dataclass(slots=True)
class Totals:
    """Counters of the workers that are gone, so that a pool's sums never fall."""

    jobs: int = 0
    busy_ns: int = 0
