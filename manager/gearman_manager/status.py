"""The status report: what every pool, worker, function and server is doing, in the shape that other tools read."""

import os
import time
from collections.abc import Mapping
from typing import Any

from gearman_manager.generations import Generations
from gearman_manager.live_worker import LiveWorker
from gearman_manager.pool import Pool, WorkerState
from gearman_manager.process import private_bytes
from gearman_manager.queues import Queues
from gearman_manager.scoreboard import SlotState
from gearman_manager.workforce import Workforce

Report = dict[str, Any]


def report(since: float, generations: Generations, workforce: Workforce, queues: Queues | None) -> Report:
    """The whole report; `since` is the wall-clock time of the start."""
    current = generations.current
    pools = current.layout.pools if current else {}
    return {
        "supervisor": {"pid": os.getpid(), "since": since},
        "pools": {
            pool.name: _pool(pool, workforce, pools[pool.name].min, pools[pool.name].max)
            if pool.name in pools
            else _pool(pool, workforce, 0, 0)
            for pool in workforce.active
        },
        "functions": _functions(generations, queues),
        "servers": {str(server.address): _server(server.up, server.since) for server in queues.servers}
        if queues
        else {},
        "errors": [
            {"file": p.file, "line": p.line, "message": f"{p.key}: {p.message}" if p.key else p.message}
            for p in generations.errors
        ],
    }


def _server(up: bool, since: float) -> Report:
    return {"up": up, "since": since}


def _pool(pool: Pool, workforce: Workforce, minimum: int, maximum: int) -> Report:
    return {
        "min": minimum,
        "max": maximum,
        "target": pool.target,
        "paused": False,
        "failing": pool.failing,
        "last_error": pool.last_error,
        "workers": [_worker(live, workforce) for live in workforce.of(pool.name)],
    }


def _worker(live: LiveWorker, workforce: Workforce) -> Report:
    view = workforce.view(live)
    now = time.monotonic()
    jobs = []
    state = live.worker.state.value
    if view.state is SlotState.BUSY:
        for_s = max(0.0, now - view.start_ns / 1e9)
        jobs.append(
            {"function": live.order.pool.functions[view.function], "handle": view.handle, "for_s": round(for_s, 3)}
        )
    if live.worker.state is WorkerState.READY:
        state = "busy" if jobs else "idle"
    return {
        "name": live.name,
        "pid": live.pid or None,
        "state": state,
        "jobs": jobs,
        "done": view.done,
        "failed": view.failed,
        "private_bytes": private_bytes(live.pid) if live.pid else None,
        "age_s": round(now - live.started_at, 3),
    }


def _functions(generations: Generations, queues: Queues | None) -> Mapping[str, Report]:
    if generations.current is None:
        return {}
    result = {}
    for name, function in sorted(generations.current.layout.functions.items()):
        queue = queues.of(name) if queues else None
        result[name] = {
            "pool": function.pool,
            "file": function.file,
            "queued": queue.queued if queue else None,
            "running": queue.running if queue else None,
            "workers": queue.workers if queue else None,
        }
    return result
