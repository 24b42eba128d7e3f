"""The status report on every pool, worker, function and server. Other tools read it, so its keys must not change."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gearman_manager.code.generations import Generations
from gearman_manager.config import ResolvedPool, ResolvedWindow
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.turns import Turns
from gearman_manager.host.memory import private_bytes
from gearman_manager.ipc.scoreboard import SlotView
from gearman_manager.job_servers.policy_gap_check import PolicyGapCheck
from gearman_manager.logs import log
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.queue_dialogue import Hold
from gearman_manager.scaling.queues import Queues, ServerWatch
from gearman_manager.scaling.windows import PoolBounds, bounds_at, next_start, opening

Report = dict[str, Any]


class StatusReport:
    """Makes reports from the parts' current state."""

    def __init__(
        self,
        generations: Generations,
        workforce: Workforce,
        queues: Queues,
        sizes: PoolSizes,
        policy_gaps: PolicyGapCheck,
        explanations: Explanations,
    ) -> None:
        self._since = time.time()
        self._generations = generations
        self._workforce = workforce
        self._queues = queues
        self._sizes = sizes
        self._policy_gaps = policy_gaps
        self._explanations = explanations
        self._added: dict[str, Callable[[], object]] = {}

    def add(self, name: str, report: Callable[[], object]) -> None:
        """Add a part of this name to the reports."""
        self._added[name] = report

    @property
    def pool_names(self) -> list[str]:
        """The pools of a report, without making one: with 200 workers that takes 70 ms."""
        return [pool.name for pool in self._workforce.active]

    def report(self) -> Report:
        """The state of all parts now, made in turns: others run meanwhile."""
        turns = Turns()
        sizes, gaps = self._sizes.arranged, self.notices()
        return {
            "supervisor": {"pid": os.getpid(), "since": self._since},
            **{name: report() for name, report in self._added.items()},
            "pools": {pool.name: self._pool(pool, sizes.get(pool.name), turns) for pool in self._workforce.active},
            "budgets": _budgets(self._sizes.budgets, self._workforce, sizes),
            "functions": self.functions(),
            "servers": {str(server.address): _server(server, gaps) for server in self._queues.servers},
            "errors": [
                *({"file": p.file, "line": p.line, "message": p.text} for p in self._generations.errors),
                *({"file": file, "line": 0, "message": message} for file, message in log.problems().items()),
            ],
        }

    def functions(self) -> Mapping[str, Report]:
        """The part about functions alone."""
        return _functions(self._generations, self._queues)

    def notices(self) -> Mapping[str, list[str]]:
        """By the address of a job server, the settings that do not hold there."""
        return self._policy_gaps.broken

    def _pool(self, pool: Pool, settings: ResolvedPool | None, turns: Turns) -> Report:
        now = time.time()
        bounds = bounds_at(settings, now) if settings else PoolBounds(0, 0)
        return {
            "min": bounds.minimum,
            "max": bounds.maximum,
            "bounds": bounds.reason,
            "windows": [_window(window, now) for window in settings.windows] if settings else [],
            "target": pool.target,
            "why": self._explanations.why(pool.name),
            "state": pool.state.value,
            "paused": pool.state is PoolState.PAUSED,
            "failing": pool.state is PoolState.FAILING,
            "last_error": pool.last_error,
            "workers": self._workers(pool, turns),
        }

    def _workers(self, pool: Pool, turns: Turns) -> list[Report]:
        reports = []
        for live in list(self._workforce.of(pool.name)):
            turns.others()
            if live.name in self._workforce.live:  # else it went meanwhile, and another may have its slot
                reports.append(_worker(live))
        return reports


def _server(server: ServerWatch, policy_gaps: Mapping[str, list[str]]) -> Report:
    return {
        "up": server.is_up,
        "since": server.since,
        "trouble": server.trouble,
        "notices": policy_gaps.get(str(server.address), []),
    }


def _budgets(budgets: Mapping[str, int], workforce: Workforce, settings: Mapping[str, ResolvedPool]) -> Report:
    """The units of each budget, and those that workers use, leaving ones included."""
    used = Counter[str]()
    for live in workforce.live.values():
        used.update(settings.get(live.pool.name, live.order.pool).uses)
    return {name: {"units": units, "used": used[name]} for name, units in budgets.items()}


def _window(window: ResolvedWindow, now: float) -> Report:
    opened, next_s = opening(window, now), next_start(window, now)
    return {
        "cron": window.cron,
        "time_zone": window.time_zone,
        "for_s": window.length_s,
        "min": window.min,
        "max": window.max,
        "open": opened is not None,
        "until": opened.until if opened else None,
        "next": next_s if math.isfinite(next_s) else None,
    }


def _worker(live: LiveWorker) -> Report:
    view = live.slots.view()
    now = time.monotonic()
    jobs = [_job(job, live, now) for job in live.slots.jobs()]
    state = live.worker.state.value
    if live.worker.state is WorkerState.READY:
        state = "busy" if jobs else "idle"
    return {
        "name": live.name,
        "pid": live.pid or None,
        "state": state,
        "jobs": jobs,
        "fetched": live.fetched.count(view) if live.fetched is not None else 0,
        # A program reports to nobody how many jobs it has run: null, because 0 would be wrong.
        "done": None if live.is_program else view.done,
        "failed": None if live.is_program else view.failed,
        "private_bytes": _private_bytes(live.pid) if live.pid else None,
        "age_s": round(now - live.started_at, 3),
    }


def _private_bytes(pid: int) -> int | None:
    try:
        return private_bytes(pid)
    except OSError:
        return None  # the worker is gone


def _job(view: SlotView, live: LiveWorker, now: float) -> Report:
    for_s = max(0.0, now - view.start_ns / 1e9)
    return {"function": live.order.pool.functions[view.function], "handle": view.handle, "for_s": round(for_s, 3)}


def _functions(generations: Generations, queues: Queues) -> Mapping[str, Report]:
    if generations.current is None:
        return {}
    result = {}
    for name, function in sorted(generations.current.layout.functions.items()):
        queue = queues.of(name) if queues.servers else None
        result[name] = {
            "pool": function.pool,
            "file": function.file,
            "queued": queue.waiting if queue else None,
            "held_back": queue.waiting - queue.queued if queue else None,
            "running": queue.running if queue else None,
            "workers": queue.workers if queue else None,
            **_hold(queue.hold if queue else None),
        }
    return result


def _hold(hold: Hold | None) -> Report:
    """Since when the function is paused, since and until when its brake holds it, and until when it is held as one of
    its jobs wished, in Unix seconds."""
    names = ("paused_since", "held_since", "held_until", "throttled_until")
    return dict(zip(names, (moment or None for moment in hold or Hold()), strict=True))
