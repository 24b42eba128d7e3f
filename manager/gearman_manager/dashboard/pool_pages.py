"""The page of a pool, those of all workers, and the page of a worker: what it does, by which limits, and its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.api.live_routes import workers_in
from gearman_manager.code.generations import Generations
from gearman_manager.config import ResolvedPool
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.dashboard.chart_parts import ChartParts
from gearman_manager.dashboard.forms import done
from gearman_manager.dashboard.rendering import page
from gearman_manager.dashboard.words import duration, size
from gearman_manager.errors import NotFound
from gearman_manager.live.steady_clock import SteadyClock
from gearman_manager.live.tiles import tile
from gearman_manager.logs.recent_log import RecentLog, Subject
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.clock import epoch

Report = Mapping[str, Any]
#: Workers, jobs of a worker, and lines of the log on one page.
WORKERS: Final = 200
MOST_JOBS: Final = 100
MOST_LINES: Final = 200
MOST_DECISIONS: Final = 15


@dataclass(frozen=True, slots=True)
class PoolSources:
    """What is shown of pools."""

    overview: Callable[[], Report]
    explanations: Explanations
    generations: Generations
    workforce: Workforce
    log: RecentLog


def add_pool_pages(routes: Blueprint, sources: PoolSources, charts: ChartParts) -> None:
    """The pages that show."""
    clock, generations = SteadyClock(), sources.generations
    workforce, log = sources.workforce, sources.log

    @routes.get("/pools/<path:name>")
    def pool(name: str) -> ResponseReturnValue:
        found = next((each for each in sources.overview()["pools"] if each["name"] == name), None)
        if found is None:
            raise NotFound(f"there is no pool {name}: a reload may have removed it")
        reasons = sources.explanations.report(name)
        return page(
            "pool.html",
            pool=found,
            **_workers([found], url_for("dashboard.pool", name=name)),
            now=reasons["now"],
            decisions=reasons["decisions"][::-1][:MOST_DECISIONS],
            limits=dict(_limits(_settings(generations, name))),
            ended={reason.value: count for reason, count in workforce.pools[name].counts.ended.items() if count},
            started=workforce.pools[name].counts.started,
            lines=log.lines(Subject(name))[-MOST_LINES:],
            **charts.on_page("pool", name),
        )

    @routes.get("/workers")
    def workers() -> ResponseReturnValue:
        shown = _workers(sources.overview()["pools"], url_for("dashboard.workers"))
        groups = groupby(shown["workers"].rows, key=lambda each: each["name"].rpartition("/")[0])
        return page("workers.html", groups=groups, **shown)

    @routes.get("/workers/<path:name>")
    def worker(name: str) -> ResponseReturnValue:
        live, lines = workforce.live.get(name), log.lines(Subject(name))[-MOST_LINES:]
        if live is None and not lines:
            raise NotFound(f"there is no worker {name}, and nothing is left in the log that it had said")
        return page(
            "worker.html",
            name=name,
            pool=name.rpartition("/")[0],
            worker=None if live is None else tile(live, clock) | {"last_error": live.slots.view().last_error},
            jobs=[] if live is None else _jobs(live),
            limits={} if live is None else dict(_limits(live.order.pool)),
            lines=lines,
        )


def add_worker_forms(routes: Blueprint, changes: OperatorChanges, jobs: ServerJobs) -> None:
    """The forms on a worker's page."""

    @routes.post("/workers/<path:name>/restart")
    def restart_worker(name: str) -> ResponseReturnValue:
        changes.restart_worker(name)
        return done(url_for("dashboard.worker", name=name), "worker-restarted")

    @routes.post("/workers/<path:name>/stop-job")
    def stop_job(name: str) -> ResponseReturnValue:
        stopped = jobs.stop([request.form.get("handle", "")])
        return done(url_for("dashboard.worker", name=name), "stopped" if stopped else "none")


def _workers(pools: Iterable[Report], address: str) -> dict[str, Any]:
    """A page of the workers of these pools, and the addresses of others."""
    cursor = request.args.get("cursor") or None
    part = workers_in(pools, cursor, WORKERS)
    following = part.next and f"{address}?{urlencode({'cursor': part.next})}"
    return {"workers": part, "is_first": cursor is None, "next": following, "first": address}


def _settings(generations: Generations, name: str) -> ResolvedPool | None:
    return None if generations.current is None else generations.current.layout.pools.get(name)


def _limits(pool: ResolvedPool | None) -> Iterator[tuple[str, str]]:
    """The limits of a pool's workers, in the words of the configuration."""
    if pool is None:
        return
    yield "stop_timeout", duration(pool.stop_timeout_s)
    if pool.max_jobs is not None:
        yield "max_jobs", str(pool.max_jobs)
    if pool.max_lifetime_s is not None:
        yield "max_lifetime", duration(pool.max_lifetime_s)
    if pool.max_memory_bytes is not None:
        yield "max_memory", size(pool.max_memory_bytes)
    if pool.concurrency > 1:
        yield "concurrency", str(pool.concurrency)
    if pool.prefetch > 1:
        yield "prefetch", str(pool.prefetch)
    if pool.user:
        yield "user", pool.user
    if pool.command is not None:
        yield "program", pool.command[0]  # its arguments may hold a password
    for budget, units in pool.uses.items():
        yield f"uses {budget}", str(units)


def _jobs(live: LiveWorker) -> list[dict[str, Any]]:
    functions = live.order.pool.functions
    return [
        {"function": functions[job.function], "handle": job.handle, "since": round(epoch(job.start_ns / 1e9), 1)}
        for job in live.slots.jobs()[:MOST_JOBS]
    ]
