"""A worker's process as the supervisor holds it, and the scoreboard's slots that such processes take."""

from dataclasses import dataclass, field
from typing import Any

from gearman_manager.errors import StartError
from gearman_manager.orders import PoolOrder
from gearman_manager.output import ChildOutput
from gearman_manager.pool import Pool, PoolWorker
from gearman_manager.scoreboard import Scoreboard


@dataclass(slots=True)
class LiveWorker:
    """From the order to start it until it is gone. Times are monotonic seconds."""

    worker: PoolWorker
    pool: Pool
    order: PoolOrder
    slot: int  # a program has one too, and never writes to it
    output: ChildOutput
    started_at: float
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

    def take(self) -> int:
        """A slot for a worker to be.

        Raises:
            StartError: all are taken.
        """
        if self._free:
            return self._free.pop()
        if self._used >= self.scoreboard.slots:
            raise StartError(f"the scoreboard holds {self.scoreboard.slots} workers; run fewer")
        self._used += 1
        return self._used - 1

    def give_back(self, slot: int) -> None:
        """Its worker is gone."""
        self.scoreboard.clear(slot)
        self._free.append(slot)


@dataclass(slots=True)
class Totals:
    """Counters of the workers that are gone, so that a pool's sums never fall."""

    jobs: int = 0
    busy_ns: int = 0
