"""The API's routes `/series`, `/pools/NAME/series` and `/functions/NAME/series`: how they have fared, for charts."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import (
    FLAG,
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    Operation,
    by_name,
    list_of,
    or_null,
    record,
)
from gearman_manager.series.ranges import DEFAULT, RANGES, Range
from gearman_manager.series.reports import Reports

_MARK: Final = record(at=MOMENT, kind=TEXT, subject=TEXT, text=TEXT)
_SERIES: Final = {
    "range": TEXT,
    "step_s": WHOLE,
    "times": list_of(MOMENT),
    "figures": by_name(list_of(or_null(NUMBER))),
    "marks": list_of(_MARK),
}
_COUNTED: Final = {"counted": or_null(FLAG)}
_RANGE: Final = {"range": {"type": "string", "enum": [*RANGES]}}


def series_routes(reports: Reports) -> Blueprint:
    """The routes."""
    routes = Blueprint("series", __name__)

    @routes.get("/series")
    @Operation(
        "How all pools together have fared: figures by name, each with a value for each of `times` (the beginning of "
        "the time that it stands for, of `step_s` seconds; the last one is not over), null where nothing is known; and "
        "marks of what has happened, the newest first. Jobs are told per minute. `counted` is whether job servers tell "
        "of functions, null if they are not asked.",
        {200: record(**_SERIES, **_COUNTED)},
        query=_RANGE,
        refusals=(502,),
    )
    def of_all() -> ResponseReturnValue:
        return jsonify(reports.of_all(_wished()))

    @routes.get("/pools/<path:name>/series")
    @Operation(
        "How a pool has fared, as `/series`; `limits` has the limit that held last at each of the times.",
        {200: record(**_SERIES, pool=TEXT, limits=list_of(or_null(TEXT)))},
        query=_RANGE,
        refusals=(404, 502),
    )
    def of_pool(name: str) -> ResponseReturnValue:
        return jsonify(reports.of_pool(name, _wished()))

    @routes.get("/functions/<path:name>/series")
    @Operation(
        "How a function has fared, as job servers count, as `/series`.",
        {200: record(**_SERIES, **_COUNTED, function=TEXT)},
        query=_RANGE,
        refusals=(404, 502),
    )
    def of_function(name: str) -> ResponseReturnValue:
        return jsonify(reports.of_function(name, _wished()))

    return routes


def _wished() -> Range:
    return RANGES[request.args.get("range", DEFAULT)]
