"""Looks at the pools: what their workers do at this moment, and what has happened since the look before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gearman_manager.code.generations import Generations
from gearman_manager.control.turns import Turns
from gearman_manager.metrics.process_use import use_of
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_counts import Departure
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.queues import Queues
from gearman_manager.series.figures import POOL, Point

#: The ends of workers that nobody has wished.
CRASHES: Final = (Departure.CRASHED, Departure.UNSTARTED, Departure.KILLED)
_STARTING: Final = frozenset({WorkerState.ORDERED, WorkerState.STARTING})


@dataclass(slots=True)
class _Seen:
    """The counters of a pool at the last look."""

    counters: dict[str, int] = field(default_factory=dict)
    #: By worker, the milliseconds on the processor.
    cpu_ms: dict[str, int] = field(default_factory=dict)


class PoolSamples:
    """Remembers the last look."""

    def __init__(
        self,
        workforce: Workforce,
        autoscaler: Autoscaler,
        queues: Queues,
        generations: Generations,
    ) -> None:
        self._workforce = workforce
        self._autoscaler = autoscaler
        self._queues = queues
        self._generations = generations
        self._seen: dict[str, _Seen] = {}

    def look(self, oldest_ms: Mapping[str, int], turns: Turns) -> Iterator[tuple[Pool, Point, str]]:
        """Each pool with a point for this moment, and the name of the limit that holds, empty if none does. `oldest_ms`
        says how long the first job of a function has waited, as far as job servers tell."""
        functions = self._generations.by_pool
        pools = list(self._workforce.active)
        for pool in pools:
            point = self._counters(pool, turns)
            self._add_queue(point, functions.get(pool.name, ()), oldest_ms)
            decision = self._autoscaler.decisions(pool.name).last
            limit = decision.binding.limit.name if decision is not None and decision.binding is not None else ""
            wanted = pool.target if decision is None else decision.wanted
            POOL.add(point, POOL.point(samples=1, target=pool.target, wanted=wanted, held=bool(limit)))
            yield pool, point, limit
        for gone in self._seen.keys() - {pool.name for pool in pools}:
            del self._seen[gone]

    def _counters(self, pool: Pool, turns: Turns) -> Point:
        """What the workers do now, and what has happened since the last look. No counter falls: a worker may end while
        others have their turn, and is counted the next time then."""
        counts = pool.counts
        totals = {
            "done": counts.done,
            "failed": counts.failed,
            "spawned": counts.started,
            "crashed": sum(counts.ended[departure] for departure in CRASHES),
            "grown": counts.grown,
            "shrunk": counts.shrunk,
        }
        seen = self._seen.setdefault(pool.name, _Seen())
        now = {"starting": 0, "idle": 0, "busy": 0}
        memory_bytes = cpu_ms = 0
        by_worker: dict[str, int] = {}
        for live in list(self._workforce.of(pool.name)):
            turns.others()
            if live.name not in self._workforce.live:
                continue  # it went meanwhile, and another may have its slot
            view = live.slots.view()
            totals["done"] += view.done
            totals["failed"] += view.failed
            if live.worker.state in _STARTING:
                now["starting"] += 1
            elif live.worker.state is WorkerState.READY:
                now["busy" if view.running else "idle"] += 1
            use = use_of(live.pid) if live.pid else None
            if use is not None:
                memory_bytes += use[0]
                by_worker[live.name] = round(use[1] * 1000)
                cpu_ms += max(0, by_worker[live.name] - seen.cpu_ms.get(live.name, 0))
        seen.cpu_ms = by_worker
        new = {name: max(0, total - seen.counters.get(name, 0)) for name, total in totals.items()}
        seen.counters = {name: max(total, seen.counters.get(name, 0)) for name, total in totals.items()}
        return POOL.point(**now, **new, memory_kb=memory_bytes // 1000, cpu_ms=cpu_ms)

    def _add_queue(self, point: Point, functions: list[str] | tuple[()], oldest_ms: Mapping[str, int]) -> None:
        queues = [self._queues.of(function) for function in functions]
        waiting = sum(queue.waiting for queue in queues)
        oldest = max((oldest_ms.get(function, 0) for function in functions), default=0)
        running = sum(queue.running for queue in queues)
        POOL.add(point, POOL.point(waiting=waiting, waiting_max=waiting, running=running, oldest_ms=oldest))
