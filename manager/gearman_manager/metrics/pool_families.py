"""The families of pools: workers, their starts and ends, their jobs, and the scaler's decisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gearman_manager.metrics.exposition import AnyFamily, Family, HistogramFamily, LabelledFamily
from gearman_manager.metrics.pool_figures import PoolFigures
from gearman_manager.pools.pool_counts import START_BUCKETS_S, Departure
from gearman_manager.pools.pool_state import PoolState

_POOL: Final = "gearman_manager_pool_"
_REASONS: Final = tuple(departure.value for departure in Departure)


def _workers(row: PoolFigures) -> Iterator[tuple[str, int]]:
    yield "starting", row.starting
    yield "idle", row.idle
    yield "busy", row.busy
    yield "leaving", row.leaving


def _ends(row: PoolFigures) -> Iterator[tuple[str, int]]:
    return zip(_REASONS, row.counts.ended.values(), strict=True)


def _jobs(row: PoolFigures) -> Iterator[tuple[str, int]]:
    if not _is_program(row):  # it reports to nobody
        yield "done", row.done
        yield "failed", row.failed


def _limit(row: PoolFigures) -> Iterator[tuple[str, int]]:
    if row.decision is not None and row.decision.binding is not None:
        yield row.decision.binding.limit.name, 1


def _changes(row: PoolFigures) -> Iterator[tuple[str, int]]:
    yield "up", row.counts.grown
    yield "down", row.counts.shrunk


def _is_program(row: PoolFigures) -> bool:
    return row.settings is not None and row.settings.command is not None


def _is(state: PoolState, name: str, help_text: str) -> AnyFamily[PoolFigures]:
    return Family(_POOL + name, "gauge", help_text, lambda row: int(row.pool.state is state))


POOL_FAMILIES: Final[tuple[AnyFamily[PoolFigures], ...]] = (
    Family(
        _POOL + "workers_wanted",
        "gauge",
        "Workers that the work needs, before any limit.",
        lambda row: row.decision.wanted if row.decision is not None else None,
    ),
    Family(_POOL + "workers_target", "gauge", "Workers that the pool is to have.", lambda row: row.pool.target),
    Family(
        _POOL + "workers_min", "gauge", "The min that holds now.", lambda row: row.settings.min if row.settings else 0
    ),
    Family(
        _POOL + "workers_max", "gauge", "The max that holds now.", lambda row: row.settings.max if row.settings else 0
    ),
    LabelledFamily(
        _POOL + "workers",
        "gauge",
        "Workers by state: starting, idle and busy (both are ready), leaving. Programs count as idle.",
        "state",
        _workers,
    ),
    _is(PoolState.FAILING, "failing", "Whether the pool can keep no worker alive."),
    _is(PoolState.BACKING_OFF, "backing_off", "Whether workers die so often that the next one waits."),
    _is(PoolState.PAUSED, "paused", "Whether an operator has paused the pool."),
    LabelledFamily(
        _POOL + "limit", "gauge", "1 for the limit that keeps the pool from the size that it wants.", "limit", _limit
    ),
    LabelledFamily(_POOL + "scaler_changes", "counter", "Changes of the target by the scaler.", "direction", _changes),
    Family(_POOL + "worker_starts", "counter", "Workers that were ordered.", lambda row: row.counts.started),
    LabelledFamily(
        _POOL + "worker_ends",
        "counter",
        "Workers that are gone, by reason; all but surplus and stopped are replaced.",
        "reason",
        _ends,
    ),
    HistogramFamily(
        _POOL + "worker_start_seconds",
        "From the order to the registration of a worker. A program counts as registered after a second.",
        START_BUCKETS_S,
        lambda row: (row.counts.start_times.counts, row.counts.start_times.sum_s),
    ),
    LabelledFamily(_POOL + "jobs", "counter", "Jobs that the workers have ended, by outcome.", "outcome", _jobs),
    Family(
        _POOL + "jobs_running",
        "gauge",
        "Jobs that the workers run now.",
        lambda row: None if _is_program(row) else row.running,
    ),
    Family(
        _POOL + "busy_seconds",
        "counter",
        "Time that workers have spent in jobs.",
        lambda row: None if _is_program(row) else row.busy_ns / 1e9,
    ),
    Family(
        _POOL + "memory_bytes",
        "gauge",
        "Memory of the workers that belongs to no file, counted for each that shares it.",
        lambda row: row.memory_bytes,
    ),
    Family(
        _POOL + "cpu_seconds",
        "counter",
        "Processor time of the workers; without what a worker used between the last scrape and its end.",
        lambda row: round(row.cpu_s, 3),
    ),
)
