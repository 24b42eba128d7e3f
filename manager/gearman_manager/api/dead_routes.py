"""The API's routes for dead letters, jobs that failed for good, below `/dead`."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, Operation, only, record
from gearman_manager.api.job_choices import CHOICE, CONDITIONS, HANDLES, chosen_by, handles_of, page
from gearman_manager.api.pages import page_of
from gearman_manager.api.requests import json_body
from gearman_manager.api.schemas import DEAD, DEAD_DETAILS
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import ManagerError

_CONDITION: Final = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in CHOICE]
#: Handles, conditions or all: one of the three.
_CHOICE: Final = {
    **only(handles=HANDLES, **CHOICE, all={"const": True}),
    "oneOf": [
        {"required": ["handles"], "maxProperties": 1},
        {"not": {"anyOf": [{"required": ["handles"]}, {"required": ["all"]}]}, "anyOf": _CONDITION},
        {"required": ["all"], "maxProperties": 1},
    ],
}


def dead_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/dead`."""
    routes = Blueprint("dead", __name__)

    @routes.get("/dead")
    @Operation("Dead letters.", {200: page_of(DEAD)}, query=CONDITIONS, refusals=(409, 502))
    def listed() -> ResponseReturnValue:
        return page(jobs, "dead")

    @routes.get("/dead/", defaults={"handle": ""})
    @routes.get("/dead/<path:handle>")
    @Operation("All details of a dead letter.", {200: DEAD_DETAILS}, refusals=(404, 409, 502))
    def show(handle: str) -> ResponseReturnValue:
        return jsonify(jobs.show("dead", handle))

    @routes.post("/dead/<any(retry, drop):what>")
    @Operation(
        "Queue dead letters again, or forget them: by handles, by conditions, or all.",
        {200: record(changed=COUNT)},
        body=_CHOICE,
        refusals=(409, 502),
    )
    def change(what: str) -> ResponseReturnValue:
        body = json_body()
        chosen = handles_of(body) if "handles" in body else chosen_by(body)
        if (len(body) > 1 and ("handles" in body or "all" in body)) or bool(chosen) == (body.get("all") is True):
            raise ManagerError('either handles, or function, tag, key and older, or "all": true alone is expected')
        if "handles" in body:
            return jsonify({"changed": jobs.change_each(f"dead {what}", chosen)})
        return jsonify({"changed": jobs.change(f"dead {what}", chosen or ["all"])})

    return routes
