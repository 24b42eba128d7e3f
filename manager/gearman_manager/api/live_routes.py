"""The API's routes `/overview` and `/events`, for pages that stay open; `/pools/NAME` and `/workers`; and
`/scale/POOL`, for KEDA and the like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import (
    COUNT,
    FLAG,
    MOMENT,
    NAME,
    NUMBER,
    PRESENT,
    TEXT,
    WHOLE,
    Operation,
    list_of,
    or_null,
    record,
)
from gearman_manager.api.pages import DEFAULT_LIMIT, PAGING, Stretch, page_of, stretch_of
from gearman_manager.live.event_stream import EventStream
from gearman_manager.live.overview import Overview

_TILE: Final = record(
    name=TEXT,
    pid=or_null(WHOLE),
    state=TEXT,
    function=or_null(TEXT),
    handle=or_null(TEXT),
    since=or_null(MOMENT),
    jobs=COUNT,
    done=or_null(COUNT),
    failed=or_null(COUNT),
    memory_bytes=or_null(COUNT),
    cpu_s=or_null(NUMBER),
    cpu_cores=or_null(NUMBER),
    started=MOMENT,
)
_FIGURES: Final[Mapping[str, Any]] = {
    "name": TEXT,
    "state": TEXT,
    "functions": list_of(TEXT),
    "min": COUNT,
    "max": COUNT,
    "target": COUNT,
    "wanted": COUNT,
    "ready": COUNT,
    "busy": COUNT,
    "queued": COUNT,
    "waiting": COUNT,
    "running": COUNT,
    "held": list_of(TEXT),
    "last_error": TEXT,
    "done": COUNT,
    "failed": COUNT,
    "done_per_minute": or_null(NUMBER),
    "failed_per_minute": or_null(NUMBER),
    "memory_bytes": COUNT,
    "why": TEXT,
    "limit": or_null(TEXT),
    "decided": or_null(MOMENT),
}
_POOL: Final = record(**_FIGURES, workers=list_of(_TILE))
_OVERVIEW: Final = record(
    at=MOMENT,
    manager=record(name=TEXT, pid=WHOLE, since=MOMENT),
    well=FLAG,
    text=TEXT,
    troubles=list_of(record(severity=TEXT, kind=TEXT, subject=TEXT, text=TEXT)),
    pools=list_of(_POOL),
    servers=list_of(record(address=TEXT, up=or_null(FLAG), since=or_null(MOMENT), trouble=TEXT)),
)
_DEMAND: Final = record(
    pool=TEXT, value=COUNT, queued=COUNT, running=COUNT, waiting=COUNT, wanted=COUNT, target=COUNT, ready=COUNT
)


def live_routes(overview: Overview, events: EventStream) -> Blueprint:
    """The routes below `/api/v1`."""
    routes = Blueprint("live", __name__)

    @routes.get("/overview")
    @Operation(
        "Is all well, and what is not; each pool with its workers and its queue. With `watch` also `event`, the id "
        "after which `/events` goes on.",
        {200: _OVERVIEW},
        query={"watch": PRESENT},
    )
    def show() -> ResponseReturnValue:
        return jsonify(events.watched_report() if "watch" in request.args else overview.report())

    @routes.get("/pools/<path:name>")
    @Operation(
        "A pool: its size and why, its queue, and how its jobs fare.", {200: record(**_FIGURES)}, refusals=(404,)
    )
    def pool(name: str) -> ResponseReturnValue:
        return jsonify({key: value for key, value in overview.pool(name).items() if key != "workers"})

    @routes.get("/workers")
    @Operation(
        "The workers of a pool, or of all, by pool and number; `count` is the number of them.",
        {200: page_of(_TILE, workers=list_of(_TILE), count=COUNT)},
        query={"pool": NAME, **PAGING},
        refusals=(404,),
    )
    def workers() -> ResponseReturnValue:
        name = request.args.get("pool")
        pools = overview.report()["pools"] if name is None else [overview.pool(name)]
        part = workers_in(pools, request.args.get("cursor"), int(request.args.get("limit", DEFAULT_LIMIT)))
        return jsonify(workers=part.rows, count=part.count, next=part.next)

    @routes.get("/events")
    @Operation(
        "Changes of the overview as server-sent events, after the event `after` or that of the header `Last-Event-ID`.",
        {200: TEXT},
        query={"after": NAME},
        refusals=(409,),
        media_type="text/event-stream",
    )
    def follow() -> ResponseReturnValue:
        last_id = request.headers.get("Last-Event-ID") or request.args.get("after", "")
        # nginx would keep them until its buffer is full.
        return Response(events.follow(last_id), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @routes.get("/scale/<path:name>")
    @Operation(
        "How much work a pool has: `value` is the number of jobs that run or could run.",
        {200: _DEMAND},
        refusals=(404,),
    )
    def demand(name: str) -> ResponseReturnValue:
        return jsonify(overview.demand(name))

    return routes


def workers_in(pools: Iterable[Mapping[str, Any]], cursor: str | None, limit: int) -> Stretch:
    """A page of the workers of these pools of an overview.

    Raises:
        ManagerError: the cursor is none of ours.
    """
    return stretch_of((worker for pool in pools for worker in pool["workers"]), _by_number, cursor, limit)


def _by_number(worker: Mapping[str, Any]) -> tuple[str, str]:
    pool, _, number = worker["name"].rpartition("/")
    return pool, number.zfill(18)


def scale_routes(overview: Overview) -> Blueprint:
    """The same at the address that KEDA's guides name: `/scale/POOL`."""
    routes = Blueprint("scale", __name__)

    @routes.get("/scale/<path:name>")
    def demand(name: str) -> ResponseReturnValue:
        return jsonify(overview.demand(name))

    return routes
