"""Feeds the scaler: from the job servers' queues and the scoreboard to each pool's target.

The decisions are pure (`steps`, `neighbours`, `allotment`); this module gives them their inputs and the pools their
targets, and keeps the last ones with their reasons.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.pools.live_worker import idle_workers
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.allotment import Bounds, Part, Wish, grant
from gearman_manager.scaling.clock import time_of_day
from gearman_manager.scaling.decision import Decision, Inputs, Limit, Reckoning, Step
from gearman_manager.scaling.everywhere import Everywhere
from gearman_manager.scaling.held_jobs import HeldJobs
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.neighbours import Company, Neighbours
from gearman_manager.scaling.queue_dialogue import FunctionQueue, Hold
from gearman_manager.scaling.queues import Queues
from gearman_manager.scaling.recent_decisions import RecentDecisions
from gearman_manager.scaling.sets import Hands, apart
from gearman_manager.scaling.steps import Field, PoolScaler, Work, demand
from gearman_manager.scaling.windows import PoolBounds, Timetable

_log = logging.getLogger("scaler")
#: A limit holds no longer if it has not for so long: under load it comes and goes many times a second.
QUIET_S: Final = 5.0


@dataclass(slots=True)
class _PoolScale:
    """The memory of one pool."""

    configured: ResolvedPool
    settings: ResolvedPool  #: with the bounds that hold at this time of day
    timetable: Timetable
    scaler: PoolScaler
    neighbours: Neighbours
    held: HeldJobs = field(default_factory=HeldJobs)
    doubtful: int = 0  #: jobs that waited at the last look, on servers that can't tell startable ones
    taken: int = 0  #: how often there were fewer of them than before
    managers: int = 1
    everywhere: Everywhere | None = None  #: if the pool has a maximum over all managers
    decisions: RecentDecisions = field(default_factory=RecentDecisions)
    bounds: PoolBounds | None = None  #: that the pool's windows have set last


class Autoscaler:
    """Keeps every pool's target at the size that its queue needs."""

    def __init__(
        self, workforce: Workforce, queues: Queues, guards: HostGuards, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` tells the Unix time, by which the pools' windows open and close."""
        self._clock = clock
        self._workforce = workforce
        self._queues = queues
        self._guards = guards
        self._max_running: Mapping[str, int] = {}
        self._by_hand: Collection[str] = ()
        self._pools: dict[str, _PoolScale] = {}
        self._holding: dict[str, float] = {}  # by limit of which the log says that it holds: when it did last

    def arrange(
        self, pools: Mapping[str, ResolvedPool], max_running: Mapping[str, int], by_hand: Collection[str] = ()
    ) -> None:
        """Take over the pools' settings and the functions' `max_running`. A pool that stays keeps its memory.

        `by_hand` names the pools whose size an operator has set.
        """
        self._max_running, self._by_hand = max_running, frozenset(by_hand)
        kept = self._pools
        self._pools = {}
        for name, settings in pools.items():
            entry = kept.get(name) or self._new_entry(settings)
            entry.configured = entry.settings = settings
            entry.timetable, entry.bounds = Timetable(settings), None
            entry.scaler.arrange(settings.scale)
            if settings.max_everywhere is None:
                entry.everywhere = None
            elif entry.everywhere is None:
                entry.everywhere = Everywhere(self._queues.manager, name)
            self._pools[name] = entry
        self._queues.announce(name for name, settings in pools.items() if settings.max_everywhere is not None)

    def _new_entry(self, settings: ResolvedPool) -> _PoolScale:
        scaler, neighbours = PoolScaler(settings.scale), Neighbours(self._queues.manager)
        return _PoolScale(settings, settings, Timetable(settings), scaler, neighbours)

    def decisions(self, pool: str) -> RecentDecisions:
        """The last decisions for a pool; none for one that the configuration no longer names."""
        return self._pools[pool].decisions if pool in self._pools else RecentDecisions()

    def update(self, now: float) -> float | None:
        """Set every pool's target and the jobs that it runs; returns the latest time for the next update."""
        wishes, reckoned = {}, {}
        moments = [self._open_and_close(now, entry) for entry in self._pools.values() if entry.configured.windows]
        for name, entry in self._pools.items():
            pool = self._workforce.pools[name]
            entry.scaler.service.update(*self._workforce.sums(name))
            serving = sum(worker.is_serving for worker in pool.workers.values())
            reckoning, _ = reckoned[name] = self._reckon(now, pool, entry, serving)
            wishes[name] = _wish(pool, entry, reckoning.size, serving, self._part(now, pool, entry))
        self._carry_out(now, wishes, reckoned)
        moments += [entry.scaler.next_change for entry in self._pools.values()]
        moments += [entry.neighbours.next_change for entry in self._pools.values()]
        moments += [entry.held.next_change for entry in self._pools.values()]
        moments += [entry.everywhere.next_change for entry in self._pools.values() if entry.everywhere is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    def _open_and_close(self, now: float, entry: _PoolScale) -> float | None:
        """Give a pool the bounds that its windows set now; returns when others may open or close."""
        unix_time = self._clock()
        bounds = entry.timetable.at(unix_time)
        if bounds is not entry.bounds:
            if (bounds.minimum, bounds.maximum) != (entry.settings.min, entry.settings.max):
                text = bounds.reason or f"no window is open: min {bounds.minimum}, max {bounds.maximum}"
                _log.info("%s", text, extra={"pool": entry.configured.name})
            entry.bounds = bounds
            entry.settings = replace(entry.configured, min=bounds.minimum, max=bounds.maximum)
        return None if math.isinf(bounds.next_change) else now + bounds.next_change - unix_time

    def _part(self, now: float, pool: Pool, entry: _PoolScale) -> Part | None:
        most = entry.settings.max_everywhere
        if entry.everywhere is None or most is None:
            return None
        is_complete = not self._queues.away
        return entry.everywhere.part(now, most, len(pool.workers), self._queues.heard, is_complete=is_complete)

    def _reckon(self, now: float, pool: Pool, entry: _PoolScale, serving: int) -> tuple[Reckoning, Inputs]:
        """The size that the work asks for, and the numbers behind it.

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
        # A foreign worker runs one job at a time, a worker of this pool as many as its `concurrency`.
        foreign_workers = company.foreign_workers // settings.concurrency
        field = self._bounds(entry, functions)
        field = replace(field, managers=company.managers, rank=company.rank, foreign_workers=foreign_workers)
        work = Work(queued, running, settings.concurrency)
        notes = self._limits_of_functions(now, functions, waiting)
        if doubtful and not entry.held.is_resting:
            work, field = self._with_held(pool, entry, work, field, held_back)
        if held := sum(startable) - work.queued:
            notes.append(Limit("held jobs", "jobs that seem delayed are left out", f"{held} jobs"))
        if settings.takes_sets:
            work = apart(work, self._hands(pool, settings, functions, waiting))
        away = ", ".join(self._queues.away)
        kept = Step(Limit("servers", "no pool shrinks with a job server away", away), pool.target) if away else None
        reckoning = entry.scaler.reckon(now, work, field, notes=notes, kept=kept)
        return reckoning, self._inputs(entry, work, field, sum(queue.waiting for queue in waiting), serving)

    def _hands(
        self, pool: Pool, settings: ResolvedPool, functions: Sequence[str], queues: Sequence[FunctionQueue]
    ) -> Hands:
        ready = sum(worker.ready_at is not None for worker in pool.workers.values())
        return Hands(
            running=[queue.running for queue in queues],
            takes_lists=[function in settings.lists for function in functions],
            busy=len(self._workforce.busy(pool)),
            others=max(0, max((queue.workers for queue in queues), default=0) - ready),
        )

    def _inputs(self, entry: _PoolScale, work: Work, field: Field, waiting: int, serving: int) -> Inputs:
        return Inputs(
            queued=work.queued,
            running=work.running,
            held=max(0, waiting - work.queued),
            service_s=entry.scaler.service.value_s,
            jobs_per_worker=work.jobs_per_worker,
            workers=serving,
            managers=field.managers,
            rank=field.rank,
            foreign_workers=field.foreign_workers,
            away=tuple(self._queues.away),
            minimum=field.minimum,
            maximum=field.maximum,
            max_workers=self._guards.limits.max_workers,
            max_everywhere=entry.settings.max_everywhere,
            uses=entry.settings.uses,
            budgets=self._guards.limits.budgets,
        )

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
        work = replace(work, queued=work.queued + held_back)
        most = max(surely, pool.target, 2 * ready, 1, field.minimum)
        if most >= field.maximum:
            return work, field
        limit = Limit("held jobs", "a pool at most doubles where waiting jobs may be delayed ones")
        return work, replace(field, maximum=most, maximum_by=limit)

    def _bounds(self, entry: _PoolScale, functions: Sequence[str]) -> Field:
        """The pool's `min` and `max`, or fewer workers than that, if its functions' `max_running` allows too few jobs
        to keep that many busy."""
        settings, windows = entry.settings, entry.bounds
        minimum, maximum, low, high = settings.min, settings.max, None, None
        if windows is not None:
            low, high = windows.minimum_by, windows.maximum_by
        if settings.name in self._by_hand:
            shown = str(minimum) if minimum == maximum else f"{minimum}..{maximum}"
            low = Limit("min by hand", f"scaled to {shown} by hand")
            high = replace(low, name="max by hand")
        limits = [self._max_running.get(function) for function in functions]
        if functions and not any(limit is None for limit in limits):
            places = sum(limit for limit in limits if limit is not None)
            useful = max(minimum, math.ceil(places / settings.concurrency))
            if useful < maximum:
                jobs = f"{places} job{'s' if places > 1 else ''}"
                maximum, high = useful, Limit("max_running", f"max_running allows {jobs} at once")
        return Field(minimum, maximum, minimum_by=low, maximum_by=high)

    def _limits_of_functions(
        self, now: float, functions: Sequence[str], queues: Sequence[FunctionQueue]
    ) -> list[Limit]:
        """The functions' `max_running`, their brakes and their pauses, if jobs wait for that."""
        full, notes = [], list[Limit]()
        for function, queue in zip(functions, queues, strict=True):
            limit = self._max_running.get(function)
            room = math.inf if limit is None else max(0, limit - queue.running)
            if queue.queued > room or (not room and queue.waiting > queue.queued):
                full.append(function)
            if queue.hold is not None and queue.waiting > queue.queued:
                notes.append(_limit_of(queue.hold, function, now, self._clock()))
        return [Limit("max_running", f"max_running holds for {', '.join(full)}"), *notes] if full else notes

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

    def _carry_out(
        self, now: float, wishes: Mapping[str, Wish], reckoned: Mapping[str, tuple[Reckoning, Inputs]]
    ) -> None:
        allotment = grant(wishes, self._bounds_for_all())
        for name, size in allotment.sizes.items():
            pool, (reckoning, inputs) = self._workforce.pools[name], reckoned[name]
            pool.ceiling, pool.share = allotment.ceilings.get(name), allotment.shares.get(name, 0)
            if name in allotment.limits:
                reckoning.to(size, allotment.limits[name])
            target = reckoning.size
            _limit_by_state(now, pool, inputs.workers, reckoning)
            decision, is_new = self._pools[name].decisions.record(reckoning.decision(now, inputs))
            if is_new and _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s", decision.sentence(time_of_day), extra={"pool": name})
            self._set(pool, target, decision)
        self._tell_held_back(now, allotment.limits)

    def _bounds_for_all(self) -> Bounds:
        """The limits for all pools together, and what the last workers of removed pools still use of them."""
        limits = self._guards.limits
        departing, units = 0, Counter[str]()
        for name in self._workforce.pools.keys() - self._pools.keys():
            for live in self._workforce.of(name):
                departing += 1
                units.update(live.order.pool.uses)
        return Bounds(limits.max_workers, limits.budgets, self._guards.room(), departing, units)

    def _tell_held_back(self, now: float, limits: Mapping[str, Limit]) -> None:
        """Log once which limits hold workers back for more than a moment, and when one has not for a while."""
        limits = {pool: limit for pool, limit in limits.items() if not limit.is_brief}
        holding = {limit.name: limit for limit in limits.values()}
        for name in sorted(holding.keys() - self._holding.keys()):
            pools = ", ".join(pool for pool, limit in limits.items() if limit.name == name)
            _log.warning("%s: no further workers for %s", holding[name], pools)
        self._holding |= dict.fromkeys(holding, now)
        for name, last in sorted(self._holding.items()):
            if now >= last + QUIET_S:
                _log.info("%s holds no longer", name)
                del self._holding[name]

    def _set(self, pool: Pool, target: int, decision: Decision) -> None:
        if target != pool.target:
            reason = f"{decision.inputs.queued} jobs wait, {decision.inputs.running} run" + _describe(decision.inputs)
            _log.info("%d → %d workers: %s", pool.target, target, reason, extra={"pool": pool.name})
            pool.counts.resized(pool.target, target)
            pool.target = target


def _wish(pool: Pool, entry: _PoolScale, wanted: int, serving: int, part: Part | None) -> Wish:
    """A pool's wish. While it is paused it keeps no more than its `min` free for the end of the pause.

    The `min` of a window yields to the limits of all pools together, as the pool's own does not.
    """
    settings = entry.settings
    minimum = min(wanted, settings.min, entry.configured.min)
    return Wish(
        minimum if pool.state is PoolState.PAUSED else wanted,
        minimum,
        serving,
        len(pool.workers) - serving,
        settings.weight,
        settings.uses,
        pool.renewing if settings.uses or part is not None else 0,
        part,
    )


def _limit_of(hold: Hold, function: str, now: float, unix_now: float) -> Limit:
    """The limit that a hold of this function is, in times of the scaler's clock."""
    offset = now - unix_now
    if hold.paused_at:
        return Limit("paused function", f"{function} is paused", since=hold.paused_at + offset, is_told=True)
    if not hold.held_at:
        until = hold.throttled_until + offset
        return Limit("throttled function", f"{function} is held, as one of its jobs wished", until=until, is_told=True)
    since, until = hold.held_at + offset, hold.held_until + offset
    if until <= now:
        return Limit("brake", f"{function} is held by its brake, single jobs probe", since=since, is_told=True)
    return Limit("brake", f"{function} is held by its brake", until=until, is_told=True)


def _limit_by_state(now: float, pool: Pool, serving: int, reckoning: Reckoning) -> None:
    """A paused pool has no workers, and one that waits after crashes only those that live."""
    if pool.state is PoolState.PAUSED:
        reckoning.to(0, Limit("paused", "paused by hand"))
    elif now < pool.crashes.not_before and serving < reckoning.size:
        crashes = pool.crashes.consecutive
        detail = f"{crashes} crash{'es' if crashes > 1 else ''}" if crashes else "no process could be started"
        until = pool.crashes.not_before
        reckoning.to(serving, Limit("back-off", "no worker starts", detail, until))


def _describe(inputs: Inputs) -> str:
    others = f", shared by {inputs.managers} managers" if inputs.managers > 1 else ""
    return others + (f", {inputs.foreign_workers} foreign workers" if inputs.foreign_workers else "")
