"""A worker as the overview shows it: some tens of microseconds for each, so a thousand of them can be looked at."""

from __future__ import annotations

import time
from typing import Any

from gearman_manager.live.steady_clock import SteadyClock
from gearman_manager.metrics.process_use import use_of
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import WorkerState

Report = dict[str, Any]


def tile(live: LiveWorker, clock: SteadyClock) -> Report:
    """What a worker does now. Moments are seconds since 1970, so that they stay while nothing happens.

    `memory_bytes` is the memory that belongs to no file; what the workers still share with their zygote is in it.
    `cpu_cores` are the processors that it has kept busy in the last seconds.
    """
    view = live.slots.view()
    jobs = live.slots.jobs() if view.running else []
    state = live.worker.state.value
    if live.worker.state is WorkerState.READY:
        state = "busy" if jobs else "idle"
    use = use_of(live.pid) if live.pid else None
    now_ns = time.monotonic_ns()
    cores = live.processor.cores(now_ns / 1e9, use[1], live.started_at) if use else None
    first = jobs[0] if jobs else None
    return {
        "name": live.name,
        "pid": live.pid or None,
        "state": state,
        "function": live.order.pool.functions[first.function] if first else None,
        "handle": first.handle if first else None,
        "since": clock.epoch(min(first.start_ns, now_ns) / 1e9) if first else None,
        "jobs": len(jobs),
        "done": None if live.is_program else view.done,
        "failed": None if live.is_program else view.failed,
        "memory_bytes": use[0] if use else None,
        "cpu_s": round(use[1], 1) if use else None,
        "cpu_cores": None if cores is None else round(cores, 2),
        "started": clock.epoch(live.started_at),
    }
