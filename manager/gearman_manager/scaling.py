"""Feeds the scaler: from the job servers' queues and the scoreboard to each pool's target.

The decisions themselves are the pure steps of `scaler`; here they get their inputs and the pools their answers.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.pool import Pool
from gearman_manager.queues import Queues
from gearman_manager.scaler import Field, Pace, ServiceTime, Work, demand, share
from gearman_manager.workforce import Workforce

_log = logging.getLogger("scaler")


@dataclass(slots=True)
class _PoolScale:
    """What the scaler remembers of one pool."""

    settings: ResolvedPool
    pace: Pace
    service: ServiceTime


class Scaling:
    """Keeps every pool's target where its queue wants it."""

    def __init__(self, workforce: Workforce) -> None:
        self._workforce = workforce
        self._pools: dict[str, _PoolScale] = {}

    def arrange(self, pools: Mapping[str, ResolvedPool]) -> None:
        """Take over the settings of all pools; what is known of a pool that stays is kept."""
        kept = self._pools
        self._pools = {}
        for name, settings in pools.items():
            service = kept[name].service if name in kept else ServiceTime()
            self._pools[name] = _PoolScale(settings, Pace(settings.scale.cooldown_s), service)

    def update(self, now: float, queues: Queues | None) -> float | None:
        """Set every pool's target; returns when to look again at the latest.

        While a server can't be reached nobody knows the demand: the pools keep their sizes, within their bounds.
        """
        deadlines = []
        for name, entry in self._pools.items():
            pool = self._workforce.pools[name]
            entry.service.update(*self._workforce.sums(name))
            field = Field(minimum=entry.settings.min, maximum=entry.settings.max)
            if queues is None or not queues.reachable:
                self._set(pool, share(pool.target, field))
                continue
            work = self._work(pool, entry, queues)
            wanted = share(demand(work, entry.settings.scale), field)
            self._set(pool, entry.pace.size(now, wanted), work)
            if (change := entry.pace.next_change()) is not None:
                deadlines.append(change)
        return min(deadlines, default=None)

    def _work(self, pool: Pool, entry: _PoolScale, queues: Queues) -> Work:
        waiting = [queues.of(function) for function in self._workforce.registered(pool.name)]
        return Work(
            queued=sum(queue.queued for queue in waiting),
            running=sum(queue.running for queue in waiting),
            service_s=entry.service.value_s,
            busy=len(self._workforce.busy(pool)),
        )

    def _set(self, pool: Pool, target: int, work: Work | None = None) -> None:
        if target == pool.target:
            return
        if work is None:
            _log.debug("%d → %d workers, within its bounds", pool.target, target, extra={"pool": pool.name})
        else:
            why = (work.queued, work.running)
            _log.info("%d → %d workers: %d jobs wait, %d run", pool.target, target, *why, extra={"pool": pool.name})
        pool.target = target
