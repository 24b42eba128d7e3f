"""The overview: is all well, what is not, and each pool with its workers, its queue and the reason for its size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gearman_manager.code.generations import Generations
from gearman_manager.control.operator_changes import find_pool
from gearman_manager.control.turns import Turns
from gearman_manager.live.steady_clock import SteadyClock
from gearman_manager.live.tiles import tile
from gearman_manager.live.troubles import Health, troubles
from gearman_manager.logs import log
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.clock import time_of_day
from gearman_manager.scaling.decision import Decision
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.queues import Queues

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from."""

    generations: Generations
    workforce: Workforce
    autoscaler: Autoscaler
    sizes: PoolSizes
    queues: Queues
    #: Of a pool, jobs done and failed per minute; None: that is not known yet.
    rates: Callable[[str], tuple[float, float] | None] = lambda _pool: None


class Overview:
    """Makes overviews of the parts' current state."""

    def __init__(self, name: str, sources: Sources, health: Callable[[], Health]) -> None:
        """`name` is the manager's, towards job servers."""
        self._name = name
        self._sources = sources
        self._health = health
        self._since = round(time.time(), 1)
        self._clock = SteadyClock()

    def report(self, turns: Turns | None = None) -> Report:
        """All of it, made in turns: others run meanwhile. Every text is as others wrote it: escape it."""
        turns = Turns() if turns is None else turns
        sources, health = self._sources, self._health()
        functions = sources.generations.by_pool
        pools = [self._pool(pool, functions.get(pool.name, ()), turns) for pool in sources.workforce.active]
        found = troubles(health, pools, sources.generations.errors, log.problems())
        return {
            "at": round(time.time(), 3),
            "manager": {"name": self._name, "pid": os.getpid(), "since": self._since},
            "well": health.is_up and health.is_healthy and all(each["severity"] == "note" for each in found),
            "text": health.text,
            "troubles": found,
            "pools": pools,
            "servers": [
                {
                    "address": str(server.address),
                    "up": server.is_answering,
                    "since": round(server.since, 1) if server.since else None,
                    "trouble": server.trouble,
                }
                for server in sources.queues.servers
            ],
        }

    def pool(self, name: str) -> Report:
        """The part about a pool alone.

        Raises:
            NotFound: there is no such pool.
        """
        functions = self._sources.generations.by_pool.get(name, ())
        return self._pool(find_pool(self._sources.workforce, name), functions, Turns())

    def demand(self, name: str) -> Report:
        """How much work a pool has, for those who scale machines by it.

        Raises:
            NotFound: there is no such pool.
        """
        pool = self.pool(name)
        keys = ("queued", "running", "waiting", "wanted", "target", "ready")
        return {"pool": name, "value": pool["queued"] + pool["running"], **{key: pool[key] for key in keys}}

    def _pool(self, pool: Pool, functions: Sequence[str], turns: Turns) -> Report:
        sources = self._sources
        queues = [sources.queues.of(function) for function in functions]
        decision = sources.autoscaler.decisions(pool.name).last
        minimum, maximum = self._bounds(pool.name, decision)
        workers = self._tiles(pool, turns)
        states = [worker["state"] for worker in workers]
        rates = sources.rates(pool.name)
        return {
            "name": pool.name,
            "state": pool.state.value,
            "functions": sorted(functions),
            "min": minimum,
            "max": maximum,
            "target": pool.target,
            "wanted": decision.wanted if decision else pool.target,
            "ready": states.count("idle") + states.count("busy"),
            "busy": states.count("busy"),
            "queued": sum(queue.queued for queue in queues),
            "waiting": sum(queue.waiting for queue in queues),
            "running": sum(queue.running for queue in queues),
            "held": [name for name, queue in zip(functions, queues, strict=True) if queue.hold is not None],
            "last_error": pool.last_error,
            "done": pool.counts.done + sum(worker["done"] or 0 for worker in workers),
            "failed": pool.counts.failed + sum(worker["failed"] or 0 for worker in workers),
            "done_per_minute": rates[0] if rates else None,
            "failed_per_minute": rates[1] if rates else None,
            "memory_bytes": sum(worker["memory_bytes"] or 0 for worker in workers),
            "why": decision.sentence(time_of_day) if decision else "",
            "limit": decision.binding.limit.name if decision and decision.binding else None,
            "decided": self._clock.epoch(decision.at) if decision else None,
            "workers": workers,
        }

    def _tiles(self, pool: Pool, turns: Turns) -> list[Report]:
        workforce, tiles = self._sources.workforce, []
        for live in list(workforce.of(pool.name)):
            turns.others()
            if live.name in workforce.live:  # else it went meanwhile, and another may have its slot
                tiles.append(tile(live, self._clock))
        return tiles

    def _bounds(self, pool: str, decision: Decision | None) -> tuple[int, int]:
        """The pool's `min` and `max` at this time of day."""
        if decision is not None:
            return decision.inputs.minimum, decision.inputs.maximum
        settings = self._sources.sizes.current.get(pool)
        return (settings.min, settings.max) if settings is not None else (0, 0)
