"""The supervisor's record of a worker's process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from gearman_manager.host.processor_share import ProcessorShare
from gearman_manager.ipc.scoreboard import Wear
from gearman_manager.logs.output import ChildOutput
from gearman_manager.pools.fetched_jobs import WorkersJobs
from gearman_manager.pools.pool import Pool, PoolWorker, WorkerState
from gearman_manager.pools.pool_order import PoolOrder
from gearman_manager.pools.worker_slots import WorkerSlots

#: How the log words it that a worker has to be replaced.
WORN: Final = {
    Wear.LAST_JOBS: "has reached its max_jobs",
    Wear.MEMORY: "has reached its max_memory",
    Wear.DESCRIPTORS: "has used up its file descriptors",
    Wear.STUCK_JOB: "has a job that does not end",
}


@dataclass(slots=True)
class LiveWorker:
    """A worker from the order to start it until it is gone. Times are monotonic seconds."""

    worker: PoolWorker
    pool: Pool
    order: PoolOrder
    slots: WorkerSlots
    output: ChildOutput
    started_at: float
    client_id: str  #: its name towards job servers
    expires_at: float | None  #: by `max_lifetime`
    fetched: WorkersJobs | None = None  #: the jobs that it has not begun, if its pool has `prefetch`
    pid: int = 0
    pidfd: int = -1
    watcher: Any = None
    kill_at: float | None = None
    told_at: float | None = None  #: to leave
    stops: dict[int, int] = field(default_factory=dict)  #: by start, its jobs that are to stop: until when they may
    processor: ProcessorShare = field(default_factory=ProcessorShare)
    doom: str = ""  #: the reason for which we killed it, unless that was a stop

    @property
    def name(self) -> str:
        """The worker's name, POOL/N."""
        return self.worker.name

    def tell_to_leave(self, now: float) -> None:
        """Mark that it is to leave after its job, and give back the jobs behind that."""
        self.told_at = self.told_at or now
        self.slots.tell_to_leave()
        self.give_back_fetched()

    def give_back_fetched(self) -> None:
        """Give the jobs that it has fetched and not begun back to their job server."""
        if self.fetched is not None:
            self.fetched.give_back()

    @property
    def is_program(self) -> bool:
        """Whether it belongs to a command pool: it does not write to its slot, nor tell when it has registered."""
        return self.order.pool.command is not None

    @property
    def where(self) -> dict[str, Any]:
        """The fields for a log line about it."""
        return {"pool": self.pool.name, "worker": self.name, "pid": self.pid or None}


def idle_workers(workers: Iterable[LiveWorker]) -> dict[str, int]:
    """The registered workers that could take a job now, by name, with the numbers of jobs that they have finished.

    Programs don't report their jobs, so they are never among them.
    """
    ready = (live for live in workers if live.worker.state is WorkerState.READY and not live.is_program)
    views = ((live, live.slots.view()) for live in ready)
    return {live.name: view.done + view.failed for live, view in views if view.running < live.order.pool.concurrency}
