"""The API's routes for failures in groups, below `/failures`: look at them, mute them, change their dead letters."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.bulk_routes import REPORT
from gearman_manager.api.description import (
    COUNT,
    FLAG,
    MOMENT,
    NAME,
    TEXT,
    WHOLE,
    Operation,
    list_of,
    only,
    or_null,
    record,
)
from gearman_manager.api.pages import DEFAULT_LIMIT, NO_CURSOR, PAGING, cursor_of, page_of, position_of
from gearman_manager.api.requests import count_of, json_body, seconds_of
from gearman_manager.errors import ManagerError
from gearman_manager.failures.group_changes import GroupChanges
from gearman_manager.failures.groups import FailureGroups

_JOBS: Final = 100
_GROUP: Final = record(
    id=TEXT,
    function=TEXT,
    exception=TEXT,
    place=TEXT,
    file=TEXT,
    line=COUNT,
    first=MOMENT,
    last=MOMENT,
    count=COUNT,
    dead=COUNT,
    handle=TEXT,
    error=TEXT,
    traceback=TEXT,
    hours=list_of(COUNT),
    is_muted=FLAG,
    muted_until=or_null(MOMENT),
    muted_by=or_null(TEXT),
)
_MORE: Final = record(
    hours_from=MOMENT,
    jobs=list_of(record(id=WHOLE, handle=TEXT, server=TEXT, at=MOMENT, is_dead=FLAG)),
    mark=COUNT,
)
_DETAILS: Final = {"allOf": [_GROUP, _MORE]}
_FOR: Final = or_null({"type": "string", "pattern": "^[0-9]{1,3}(s|m|h|d)$", "description": "such as 30m, 2h, 7d"})
#: One of both, or none.
_MUTE: Final = {
    **only(**{"until": or_null({**MOMENT, "minimum": 0}), "for": _FOR}),
    "anyOf": [{"properties": {name: {"type": "null"}}} for name in ("until", "for")],
}


def failure_routes(groups: FailureGroups, changes: GroupChanges) -> Blueprint:
    """The routes."""
    routes = Blueprint("failures", __name__)

    @routes.get("/failures")
    @Operation(
        "Failures in groups, by function, exception and place in the code: the one that failed last comes first.",
        {200: page_of(_GROUP, groups=list_of(_GROUP))},
        query={"function": NAME, **PAGING},
        refusals=(502,),
    )
    def listed() -> ResponseReturnValue:
        limit = int(request.args.get("limit", DEFAULT_LIMIT))
        rows = groups.page(request.args.get("function"), place_of(request.args.get("cursor")), limit)
        return jsonify(groups=rows, next=cursor_after(rows, limit))

    @routes.get("/failures/<name>")
    @Operation("A group of failures, with its last jobs.", {200: _DETAILS}, refusals=(404, 502))
    def show(name: str) -> ResponseReturnValue:
        return jsonify(groups.show(name, _JOBS))

    @routes.post("/failures/<name>/mute")
    @Operation(
        "Have a group cause no alerts: `until` a moment, `for` some time, or without both until it is unmuted.",
        {200: record(muted_until=or_null(MOMENT))},
        body=_MUTE,
        is_body_optional=True,
        refusals=(404, 502),
    )
    def mute(name: str) -> ResponseReturnValue:
        return jsonify(muted_until=changes.mute(name, _until(json_body())))

    @routes.post("/failures/<name>/unmute")
    @Operation("Have a group cause alerts again.", {200: record(muted_until=or_null(MOMENT))}, refusals=(404, 502))
    def unmute(name: str) -> ResponseReturnValue:
        return jsonify(muted_until=changes.mute(name, None))

    @routes.post("/failures/<name>/<any(retry, drop):what>")
    @Operation(
        "Queue the dead letters of a group again, or forget them: those that were there at its `mark`, or are now.",
        {202: REPORT},
        body=only(mark=or_null(COUNT), expected=or_null(COUNT)),
        is_body_optional=True,
        refusals=(404, 409, 502),
    )
    def change(name: str, what: str) -> ResponseReturnValue:
        body = json_body()
        return jsonify(changes.begin(what, name, count_of(body, "mark"), count_of(body, "expected")).report()), 202

    return routes


def place_of(cursor: str | None) -> tuple[float, str] | None:
    """The place in the list at which a page goes on; None: at its begin.

    Raises:
        ManagerError: it is no cursor of ours.
    """
    position = position_of(cursor, "last", "id")
    if not position:
        return None
    try:
        return float(position["last"]), position["id"]
    except (KeyError, ValueError) as error:
        raise ManagerError(NO_CURSOR) from error


def cursor_after(rows: list[dict[str, Any]], limit: int) -> str | None:
    """The cursor behind these rows; None: there are no more."""
    return cursor_of({"last": repr(rows[-1]["last"]), "id": rows[-1]["id"]}) if len(rows) == limit else None


def _until(body: Mapping[str, Any]) -> float:
    until, for_s = body.get("until"), seconds_of(body, "for")
    if until is None:
        return math.inf if for_s is None else time.time() + for_s
    if for_s is not None or isinstance(until, bool) or not isinstance(until, (int, float)) or until < 0:
        raise ManagerError("until: Unix seconds are expected, or for: a duration such as 1h, not both")
    return float(until)
