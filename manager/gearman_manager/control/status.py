"""The status report: what every pool, worker, function and server is doing, in the shape that other tools read."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gearman_manager.code.generations import Generations
from gearman_manager.config import ResolvedPool
from gearman_manager.host.memory import private_bytes
from gearman_manager.ipc.scoreboard import SlotView
from gearman_manager.logs import log
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.queues import Queues, ServerWatch

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subjects:
    """The parts that are reported on. `pools` have the sizes that hold now, those given by hand included."""

    since: float  # wall-clock time of the start
    generations: Generations
    workforce: Workforce
    queues: Queues | None
    pools: Mapping[str, ResolvedPool]
    policy_gaps: Mapping[str, list[str]]  # by job server


def report(subjects: Subjects) -> Report:
    """The whole report."""
    workforce, queues = subjects.workforce, subjects.queues
    servers = queues.servers if queues else []
    return {
        "supervisor": {"pid": os.getpid(), "since": subjects.since},
        "pools": {pool.name: _pool(pool, workforce, subjects.pools.get(pool.name)) for pool in workforce.active},
        "functions": _functions(subjects.generations, queues),
        "servers": {str(server.address): _server(server, subjects.policy_gaps) for server in servers},
        "errors": [
            {"file": p.file, "line": p.line, "message": f"{p.key}: {p.message}" if p.key else p.message}
            for p in subjects.generations.errors
        ]
        + [{"file": file, "line": 0, "message": message} for file, message in log.problems().items()],
    }


def _server(server: ServerWatch, policy_gaps: Mapping[str, list[str]]) -> Report:
    return {"up": server.is_up, "since": server.since, "notices": policy_gaps.get(str(server.address), [])}


def _pool(pool: Pool, workforce: Workforce, settings: ResolvedPool | None) -> Report:
    return {
        "min": settings.min if settings else 0,
        "max": settings.max if settings else 0,
        "target": pool.target,
        "state": pool.state.value,
        "paused": pool.state is PoolState.PAUSED,
        "failing": pool.state is PoolState.FAILING,
        "last_error": pool.last_error,
        "workers": [_worker(live) for live in workforce.of(pool.name)],
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
        "done": view.done,
        "failed": view.failed,
        "private_bytes": _private_bytes(live.pid) if live.pid else None,
        "age_s": round(now - live.started_at, 3),
    }


def _private_bytes(pid: int) -> int | None:
    try:
        return private_bytes(pid)
    except OSError:
        return None  # it is gone


def _job(view: SlotView, live: LiveWorker, now: float) -> Report:
    for_s = max(0.0, now - view.start_ns / 1e9)
    return {"function": live.order.pool.functions[view.function], "handle": view.handle, "for_s": round(for_s, 3)}


def _functions(generations: Generations, queues: Queues | None) -> Mapping[str, Report]:
    if generations.current is None:
        return {}
    result = {}
    for name, function in sorted(generations.current.layout.functions.items()):
        queue = queues.of(name) if queues else None
        result[name] = {
            "pool": function.pool,
            "file": function.file,
            "queued": queue.waiting if queue else None,
            "running": queue.running if queue else None,
            "workers": queue.workers if queue else None,
        }
    return result
