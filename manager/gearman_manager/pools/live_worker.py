"""A worker's process as the supervisor holds it, and the scoreboard's slots that such processes take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gearman_manager.errors import StartError
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.logs.output import ChildOutput
from gearman_manager.pools.pool import Pool, PoolWorker
from gearman_manager.pools.pool_order import PoolOrder


@dataclass(slots=True)
class LiveWorker:
    """From the order to start it until it is gone. Times are monotonic seconds."""

    worker: PoolWorker
    pool: Pool
    order: PoolOrder
    slots: tuple[int, ...]  # its own, and one for each place; a program never writes to them
    output: ChildOutput
    started_at: float
    client_id: str = ""  # what it calls itself towards job servers
    expires_at: float | None = None  # by `max_lifetime`
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
    def slot(self) -> int:
        """Its own slot."""
        return self.slots[0]

    @property
    def is_program(self) -> bool:
        """A command pool's worker: it has no scoreboard, and nobody knows when it has registered."""
        return self.order.pool.command is not None

    @property
    def where(self) -> dict[str, Any]:
        """The fields of a log line about it."""
        return {"pool": self.pool.name, "worker": self.name, "pid": self.pid or None}


@dataclass(slots=True)
class Slots:
    """Free slots of the scoreboard."""

    scoreboard: Scoreboard
    _free: list[int] = field(default_factory=list)
    _used: int = 0

    def take(self, count: int) -> tuple[int, ...]:
        """Slots for a worker to be.

        Raises:
            StartError: too few are free.
        """
        if len(self._free) + self.scoreboard.slots - self._used < count:
            raise StartError(
                f"the scoreboard holds {self.scoreboard.slots} workers and concurrent jobs: lower max or concurrency"
            )
        return tuple(self._free.pop() if self._free else self._next() for _ in range(count))

    def _next(self) -> int:
        self._used += 1
        return self._used - 1

    def give_back(self, slots: Iterable[int]) -> None:
        """Their worker is gone."""
        for slot in slots:
            self.scoreboard.clear(slot)
            self._free.append(slot)


@dataclass(slots=True)
class Totals:
    """Counters of the workers that are gone, so that a pool's sums never fall."""

    jobs: int = 0
    busy_ns: int = 0
