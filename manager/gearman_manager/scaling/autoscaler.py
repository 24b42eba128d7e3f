"""Feeds the scaler: from the job servers' queues and the scoreboard to each pool's target.

The decisions are pure (`steps`, `neighbours`, `allotment`); this module gives them their inputs and the pools their
targets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.pools.live_worker import idle_workers
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.allotment import Room, Wish, grant
from gearman_manager.scaling.held_jobs import HeldJobs
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.neighbours import Company, Neighbours
from gearman_manager.scaling.queue_dialogue import FunctionQueue
from gearman_manager.scaling.queues import Queues
from gearman_manager.scaling.steps import Field, PoolScaler, Work, demand

_log = logging.getLogger("scaler")


@dataclass(slots=True)
class _PoolScale:
    """The memory of one pool."""

    settings: ResolvedPool
    scaler: PoolScaler
    neighbours: Neighbours
    held: HeldJobs = field(default_factory=HeldJobs)
    doubtful: int = 0  #: jobs that waited at the last look, on servers that can't tell startable ones
    taken: int = 0  #: how often there were fewer of them than before
    managers: int = 1
    reason: str = ""  #: for the last wish, for the log


class Autoscaler:
    """Keeps every pool's target at the size that its queue needs."""

    def __init__(self, workforce: Workforce, queues: Queues, guards: HostGuards) -> None:
        self._workforce = workforce
        self._queues = queues
        self._guards = guards
        self._max_running: Mapping[str, int] = {}
        self._pools: dict[str, _PoolScale] = {}
        self._held_back = ""

    def arrange(self, pools: Mapping[str, ResolvedPool], max_running: Mapping[str, int]) -> None:
        """Take over the pools' settings and the functions' `max_running`. A pool that stays keeps its memory."""
        self._max_running = max_running
        kept = self._pools
        self._pools = {}
        for name, settings in pools.items():
            entry = kept.get(name) or self._new_entry(settings)
            entry.settings = settings
            entry.scaler.arrange(settings.scale)
            self._pools[name] = entry

    def _new_entry(self, settings: ResolvedPool) -> _PoolScale:
        return _PoolScale(settings, PoolScaler(settings.scale), Neighbours(self._queues.manager))

    def update(self, now: float) -> float | None:
        """Set every pool's target and the jobs that it runs; returns the latest time for the next update."""
        wishes = {}
        for name, entry in self._pools.items():
            pool = self._workforce.pools[name]
            entry.scaler.service.update(*self._workforce.sums(name))
            wanted = self._wanted(now, pool, entry)
            serving = sum(worker.is_serving for worker in pool.workers.values())
            minimum = min(wanted, entry.settings.min)
            wishes[name] = Wish(wanted, minimum, serving, len(pool.workers) - serving)
        self._carry_out(wishes)
        moments = [entry.scaler.next_change for entry in self._pools.values()]
        moments += [entry.neighbours.next_change for entry in self._pools.values()]
        moments += [entry.held.next_change for entry in self._pools.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _wanted(self, now: float, pool: Pool, entry: _PoolScale) -> int:
        """The size that the work asks for.

        While a server can't be reached the demand is unknown, and no pool shrinks.
        """
        settings = entry.settings
        functions = self._workforce.registered(pool.name)
        waiting = [self._queues.of(function) for function in functions]
        running = pool.running_jobs = sum(queue.running for queue in waiting)
        startable = list(map(self._startable, functions, waiting))
        doubtful = sum(min(count, queue.doubtful) for count, queue in zip(startable, waiting, strict=True))
        self._look_at_doubtful(now, pool, entry, waiting, doubtful)
        held_back = doubtful - entry.held.startable(doubtful)
        queued = sum(startable) - held_back
        company = self._company(now, entry, functions, queued, running)
        at_least = 0 if self._queues.is_reachable else pool.target
        # A foreign worker runs one job at a time, a worker of this pool as many as its `concurrency`.
        foreign_workers = company.foreign_workers // settings.concurrency
        maximum = self._useful_maximum(settings, functions)
        field = Field(settings.min, maximum, company.managers, company.rank, foreign_workers)
        work = Work(queued, running, settings.concurrency)
        if doubtful and not entry.held.is_resting:
            work, field = self._with_held(pool, entry, work, field, held_back)
        entry.reason = f"{work.queued} jobs wait, {running} run" + _describe(company)
        return entry.scaler.size(now, work, field, at_least=at_least)

    def _look_at_doubtful(
        self, now: float, pool: Pool, entry: _PoolScale, queues: Sequence[FunctionQueue], doubtful: int
    ) -> None:
        if self._queues.is_all_pushed and not entry.doubtful:
            return  # with many workers, looking at each costs something
        entry.taken += doubtful < entry.doubtful
        entry.doubtful = doubtful
        idle = idle_workers(self._workforce.of(pool.name))
        if entry.settings.command is not None:
            # Programs don't report their jobs, but the servers say whether any runs, and the queue whether it moves.
            has_workers = all(queue.workers for queue in queues if queue.doubtful)
            idle = {"": entry.taken} if has_workers and not any(queue.running for queue in queues) else {}
        entry.held.look(now, doubtful, idle)

    def _with_held(self, pool: Pool, entry: _PoolScale, work: Work, field: Field, held_back: int) -> tuple[Work, Field]:
        """No worker rests, so some of the jobs that were held back may have become due: grow for them step by step.

        The same if there is no worker yet that could show whether the jobs can be started.
        """
        ready = sum(worker.state is WorkerState.READY for worker in pool.workers.values())
        if ready and not held_back:
            return work, field
        scale, service_s = entry.settings.scale, entry.scaler.service.value_s
        surely = demand(work, scale, service_s) if ready else 0
        most = min(field.maximum, max(surely, pool.target, 2 * ready, 1))
        return replace(work, queued=work.queued + held_back), replace(field, maximum=max(most, field.minimum))

    def _useful_maximum(self, settings: ResolvedPool, functions: Sequence[str]) -> int:
        """The pool's `max`, or fewer, if its functions' `max_running` allows too few jobs to keep that many busy."""
        limits = [self._max_running.get(function) for function in functions]
        if not functions or any(limit is None for limit in limits):
            return settings.max
        places = sum(limit for limit in limits if limit is not None)
        return max(settings.min, min(settings.max, math.ceil(places / settings.concurrency)))

    def _startable(self, function: str, queue: FunctionQueue) -> int:
        """The jobs that further workers could take. Our job server counts only these, others count all."""
        limit = self._max_running.get(function)
        return queue.queued if limit is None else min(queue.queued, max(0, limit - queue.running))

    def _company(self, now: float, entry: _PoolScale, functions: Sequence[str], queued: int, running: int) -> Company:
        company = entry.neighbours.company(now, self._queues.peers, functions, queued, running)
        if company.managers != entry.managers:
            entry.managers = company.managers
            _log.info("%d managers serve its functions", company.managers, extra={"pool": entry.settings.name})
        if entry.settings.command is not None:
            # Programs name their connections as they like, so the foreign workers may be the pool's own.
            return Company(company.managers, company.rank)
        return company

    def _carry_out(self, wishes: Mapping[str, Wish]) -> None:
        room = self._guards.room()
        sizes = grant(wishes, self._guards.limits.max_workers, room)
        for name, size in sizes.items():
            self._set(self._workforce.pools[name], size, self._pools[name].reason)
        self._tell_held_back({name: wish.wanted - sizes[name] for name, wish in wishes.items()}, room)

    def _tell_held_back(self, missing: Mapping[str, int], room: Room | None) -> None:
        """Log once which guard holds workers back, and when it no longer does."""
        names = [name for name, count in missing.items() if count]
        reason = "" if not names else room.reason if room is not None and room.workers <= 0 else "limits.max_workers"
        if reason and reason != self._held_back:
            _log.warning("%s holds: no further workers for %s", reason, ", ".join(names))
        elif self._held_back and not reason:
            _log.info("%s holds no longer", self._held_back)
        self._held_back = reason

    def _set(self, pool: Pool, target: int, reason: str) -> None:
        if target != pool.target:
            _log.info("%d → %d workers: %s", pool.target, target, reason, extra={"pool": pool.name})
            pool.target = target


def _describe(company: Company) -> str:
    others = f", shared by {company.managers} managers" if company.managers > 1 else ""
    return others + (f", {company.foreign_workers} foreign workers" if company.foreign_workers else "")
