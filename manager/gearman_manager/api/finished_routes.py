"""The API's routes for finished jobs: `/jobs/finished`, and the attempts of one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import (
    COUNT,
    FLAG,
    MOMENT,
    NAME,
    PRESENT,
    SECONDS,
    TEXT,
    Operation,
    Schema,
    list_of,
    or_null,
    record,
)
from gearman_manager.api.pages import DEFAULT_LIMIT, PAGING, cursor_before, id_before, page_of
from gearman_manager.errors import NotFound
from gearman_manager.finished.collector import Collector
from gearman_manager.finished.keeper import MOST_TEXT, Keeper
from gearman_manager.finished.outcomes import OUTCOMES
from gearman_manager.finished.search import Wanted
from gearman_manager.finished.told import told, told_in_list

_MISSED: Final[Schema] = {**COUNT, "description": "ends since the manager's start that came too fast to be kept"}
_FIELDS: Final[Mapping[str, Schema]] = {
    "handle": TEXT,
    "function": TEXT,
    "unique": TEXT,
    "priority": TEXT,
    "background": FLAG,
    "outcome": {"type": "string", "description": f"one of {', '.join(OUTCOMES)}"},
    "follows": {"type": "string", "description": "retry, dead, or empty: the job is over"},
    "attempt": {**COUNT, "description": "from 1; 0: the job was not begun, or not again"},
    "submitted": MOMENT,
    "started": or_null(MOMENT),
    "ended": MOMENT,
    "worker": TEXT,
    "host": TEXT,
    "error": TEXT,
    "bytes": COUNT,
    "is_whole": {**FLAG, "description": "whether all of the workload is kept, and nothing of it is private"},
    "progress": TEXT,
    "tags": list_of(TEXT),
    "server": TEXT,
}
FINISHED: Final = record(**_FIELDS, preview=TEXT)
ATTEMPT: Final = record(**_FIELDS, traceback=TEXT, workload=TEXT, result=TEXT)
#: What finished jobs are found by.
CONDITIONS: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("function", "handle", "unique", "tag"), NAME),
    "text": {
        **NAME,
        "maxLength": MOST_TEXT,
        "description": "a part of the workload, the error or its traceback, as far as they are kept",
    },
    "outcome": {"type": "string", "enum": [*OUTCOMES]},
    "since": {**SECONDS, "description": "those that ended at this time or later, in seconds since 1970"},
    "until": {**SECONDS, "description": "those that ended at this time or earlier"},
}
_QUERY: Final[Mapping[str, Schema]] = {
    **CONDITIONS,
    "attempts": {**PRESENT, "description": "also attempts that others followed; its value does not matter"},
    **PAGING,
}


def finished_routes(keeper: Keeper, collector: Collector) -> Blueprint:
    """The routes."""
    routes = Blueprint("finished", __name__)

    @routes.get("/jobs/finished")
    @Operation(
        "Finished jobs that are kept, the newest first, also of job servers that are gone.",
        {200: page_of(FINISHED, jobs=list_of(FINISHED), missed=_MISSED)},
        query=_QUERY,
        refusals=(409, 502),
    )
    def listed() -> ResponseReturnValue:
        limit = int(request.args.get("limit", DEFAULT_LIMIT))
        rows = keeper.page(wanted_of(request.args), limit, id_before(request.args.get("cursor")))
        jobs = [told_in_list(row) for row in rows]
        return jsonify(jobs=jobs, next=cursor_before(rows, limit), missed=collector.missed)

    @routes.get("/jobs/attempts/<path:handle>")
    @Operation(
        "The attempts of a job that have ended, the first one first, with all that is kept of them.",
        {200: record(attempts=list_of(ATTEMPT))},
        refusals=(404, 409, 502),
    )
    def attempts(handle: str) -> ResponseReturnValue:
        rows = keeper.attempts_of(handle)
        if not rows:
            raise NotFound(f"no end of an attempt of {handle} is kept")
        return jsonify(attempts=[told(row) for row in rows])

    return routes


def wanted_of(given: Mapping[str, str]) -> Wanted:
    """The conditions in a query that was checked; an empty one is none."""

    def time_of(name: str) -> float | None:
        return float(given[name]) if given.get(name) else None

    return Wanted(
        handle=given.get("handle") or None,
        unique=given.get("unique") or None,
        function=given.get("function") or None,
        tag=given.get("tag") or None,
        outcome=given.get("outcome") or None,
        text=given.get("text") or None,
        since=time_of("since"),
        until=time_of("until"),
        with_attempts="attempts" in given,
    )
