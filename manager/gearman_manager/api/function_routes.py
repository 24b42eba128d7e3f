"""The API's routes for functions, and for the schedules that submit their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, FLAG, NAME, NUMBER, TEXT, Operation, list_of, only, or_null, record
from gearman_manager.api.pages import DEFAULT_LIMIT, PAGING, Stretch, page_of, stretch_of
from gearman_manager.api.requests import json_body, name_of
from gearman_manager.api.schemas import FUNCTION, SCHEDULE
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.status import StatusReport
from gearman_manager.control.submissions import Submissions
from gearman_manager.errors import ManagerError
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.schedule_runs import with_runs
from gearman_manager.history.recording import say_action
from gearman_manager.series.columns import NO_TIMES, TIMES
from gearman_manager.series.reports import Reports

_PAUSED: Final = record(paused=FLAG)
_LISTED: Final = {"allOf": [record(function=TEXT, **{name: or_null(NUMBER) for name in TIMES}), FUNCTION]}


def function_routes(jobs: ServerJobs, submissions: Submissions, status: StatusReport, reports: Reports) -> Blueprint:
    """The routes below `/functions`."""
    routes = Blueprint("functions", __name__)

    @routes.get("/functions")
    @Operation(
        "The functions: what is queued and runs, and how long their jobs have waited and run in the last 15 minutes "
        "(percentiles in seconds, null where there were none).",
        {200: list_of(_LISTED)},
        refusals=(502,),
    )
    def listed() -> ResponseReturnValue:
        times = reports.function_times()
        return jsonify(
            [{"function": name, **each, **times.get(name, NO_TIMES)} for name, each in status.functions().items()]
        )

    @routes.post("/functions/<path:name>/pause")
    @Operation("Have every job server start no job of the function.", {200: _PAUSED}, refusals=(409, 502))
    def pause(name: str) -> ResponseReturnValue:
        jobs.pause(name)
        return jsonify({"paused": True})

    @routes.post("/functions/<path:name>/resume")
    @Operation("Have every job server start the function's jobs again.", {200: _PAUSED}, refusals=(404, 409, 502))
    def resume(name: str) -> ResponseReturnValue:
        jobs.resume(name)
        return jsonify({"paused": False})

    @routes.post("/functions/<path:name>/run")
    @Operation(
        "Submit a background job of the function.",
        {202: record(handle=TEXT)},
        body=only("workload", workload=TEXT),
        refusals=(409, 502),
    )
    def run(name: str) -> ResponseReturnValue:
        say_action("functions run", name)  # the workload itself may be nobody's business
        workload = json_body().get("workload")
        if not isinstance(workload, str):
            raise ManagerError("workload: text is expected")
        content = workload.encode(errors="replace")
        say_action("functions run", name, f"{len(content)} bytes")
        return jsonify({"handle": submissions.submit(name, content)}), 202

    return routes


def schedule_routes(jobs: ServerJobs, keeper: Keeper) -> Blueprint:
    """The routes below `/schedules`."""
    routes = Blueprint("schedules", __name__)

    @routes.get("/schedules")
    @Operation(
        "The schedules by name, with their next run, their last ones and how these ended, and since when they are "
        "paused; `count` is the number of them.",
        {200: page_of(SCHEDULE, schedules=list_of(SCHEDULE), count=COUNT)},
        query=PAGING,
        refusals=(409, 502),
    )
    def schedules() -> ResponseReturnValue:
        limit = int(request.args.get("limit", DEFAULT_LIMIT))
        part = schedules_in(jobs.schedules(), request.args.get("cursor"), limit)
        return jsonify(schedules=with_runs(part.rows, keeper), count=part.count, next=part.next)

    @routes.post("/schedules/trigger")
    @Operation(
        "Submit a schedule's job now.",
        {200: record(handle=TEXT)},
        body=only("name", name=NAME),
        refusals=(404, 409, 502),
    )
    def trigger() -> ResponseReturnValue:
        return jsonify({"handle": jobs.trigger(name_of(json_body(), "name", "the name of a schedule"))})

    @routes.post("/schedules/<any(pause, resume):what>")
    @Operation(
        "Have no run of a schedule due from now on, or have its runs due again.",
        {200: record(what=TEXT)},
        body=only("name", name=NAME),
        refusals=(404, 409, 502),
    )
    def pause(what: str) -> ResponseReturnValue:
        jobs.pause_schedule(name_of(json_body(), "name", "the name of a schedule"), is_end=what == "resume")
        return jsonify({"what": what})

    return routes


def schedules_in(rows: Iterable[Mapping[str, Any]], cursor: str | None, limit: int) -> Stretch:
    """A page of schedules; the same one at several job servers stands together.

    Raises:
        ManagerError: the cursor is none of ours.
    """
    return stretch_of(rows, lambda row: (row["schedule"], row["server"]), cursor, limit)
