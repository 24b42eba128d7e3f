"""The API's routes that run finished jobs again, below `/jobs/finished`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.bulk_routes import REPORT
from gearman_manager.api.description import COUNT, TEXT, Operation, Schema, list_of, only, or_null, record
from gearman_manager.api.finished_routes import CONDITIONS, wanted_of
from gearman_manager.api.job_choices import HANDLES, handles_of, is_seconds
from gearman_manager.api.requests import MOST_COUNT, count_of, json_body
from gearman_manager.errors import ManagerError
from gearman_manager.finished.again import RunAgain
from gearman_manager.finished.outcomes import OUTCOMES
from gearman_manager.finished.search import Wanted

_MARK: Final[Schema] = {
    **COUNT,
    "maximum": MOST_COUNT,
    "description": "those that were there at this `mark`; default: now",
}
#: Handles of one request, which is answered once all are queued.
MOST_HANDLES: Final = 1000
_TIMES: Final = ("since", "until")


def again_routes(again: RunAgain) -> Blueprint:
    """The routes."""
    routes = Blueprint("again", __name__)

    @routes.get("/jobs/finished/count")
    @Operation(
        "How many finished jobs are kept, how many of them can be run again, and the mark of now.",
        {200: record(count=COUNT, fit=COUNT, mark=COUNT)},
        query=CONDITIONS,
        refusals=(409, 502),
    )
    def count() -> ResponseReturnValue:
        look = again.look(wanted_of(request.args))
        return jsonify(count=look.found, fit=look.fit, mark=look.mark)

    @routes.post("/jobs/finished/again")
    @Operation(
        "Run finished jobs again, as new background jobs with the same function, workload, priority and unique key. "
        "`handles` are those of the new jobs. `left` are not run again: the first of `problems` say why.",
        {200: record(handles=list_of(TEXT), left=COUNT, problems=list_of(TEXT))},
        body=only("handles", handles={**HANDLES, "maxItems": MOST_HANDLES}),
        refusals=(404, 409, 502),
    )
    def run() -> ResponseReturnValue:
        handles = handles_of(json_body())
        if len(handles) > MOST_HANDLES:
            raise ManagerError(f"handles: {MOST_HANDLES:,} at most are run again at once; choose more by conditions")
        return jsonify(again.run(handles)._asdict())

    @routes.post("/jobs/finished/all/again")
    @Operation(
        "Run all finished jobs again that match and were there at `mark`.",
        {202: REPORT},
        body=only(
            **{name: or_null(schema) for name, schema in CONDITIONS.items()},
            mark=or_null(_MARK),
            expected=or_null(COUNT),
        ),
        refusals=(409, 502),
    )
    def run_all() -> ResponseReturnValue:
        body = json_body()
        begun = again.begin(_wanted(body), count_of(body, "mark"), count_of(body, "expected"))
        return jsonify(begun.report()), 202

    return routes


def _wanted(body: Mapping[str, Any]) -> Wanted:
    """The conditions in a body.

    Raises:
        ManagerError: one has another form.
    """
    given = {name: body[name] for name in CONDITIONS if body.get(name) is not None}
    for name, value in given.items():
        if name in _TIMES:
            if not is_seconds(value):
                raise ManagerError(f"{name}: a number of seconds from 0 up is expected, not {value!r}")
        elif not isinstance(value, str) or not value:
            raise ManagerError(f"{name}: text is expected, not {value!r}")
    if given.get("outcome", OUTCOMES[0]) not in OUTCOMES:
        raise ManagerError(f"outcome: one of {', '.join(OUTCOMES)} is expected")
    return Wanted(**given)
