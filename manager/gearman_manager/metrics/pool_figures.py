"""The figures of one pool at one moment, read once for all of its families."""

from __future__ import annotations

from dataclasses import dataclass, field

from gearman_manager.config import ResolvedPool
from gearman_manager.metrics.exposition import label
from gearman_manager.metrics.process_use import ProcessUse
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_counts import PoolCounts
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.decision import Decision

_STARTING = frozenset({WorkerState.ORDERED, WorkerState.STARTING})


@dataclass(slots=True)
class PoolFigures:
    """A row of the families of pools."""

    labels: str
    pool: Pool
    settings: ResolvedPool | None  #: None: the configuration no longer names it
    decision: Decision | None
    starting: int = 0
    idle: int = 0
    busy: int = 0
    leaving: int = 0
    running: int = 0  #: jobs
    done: int = 0
    failed: int = 0
    busy_ns: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    counts: PoolCounts = field(init=False)

    def __post_init__(self) -> None:
        self.counts = self.pool.counts
        self.done, self.failed, self.busy_ns = self.counts.done, self.counts.failed, self.counts.busy_ns


def pool_figures(
    pool: Pool, settings: ResolvedPool | None, decision: Decision | None, workforce: Workforce, use: ProcessUse
) -> PoolFigures:
    """Read a pool with its workers' reports, and their processes."""
    figures = PoolFigures(label("pool", pool.name), pool, settings, decision)
    pids = {}
    for live in workforce.of(pool.name):
        view, state = live.slots.view(), live.worker.state
        figures.done += view.done
        figures.failed += view.failed
        figures.busy_ns += view.busy_ns
        figures.running += view.running
        if state in _STARTING:
            figures.starting += 1
        elif state is not WorkerState.READY:
            figures.leaving += 1
        elif view.running:
            figures.busy += 1
        else:
            figures.idle += 1
        if live.pid:
            pids[live.name] = live.pid
    figures.memory_bytes, figures.cpu_s = use.of(pool.name, pids)
    return figures
