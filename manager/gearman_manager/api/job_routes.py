"""The API's routes for queued and running jobs, and for the keys of a function's jobs, below `/jobs`."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, NAME, Operation, only, record
from gearman_manager.api.job_choices import CHOICE, CONDITIONS, HANDLES, NAMES, STATES, chosen_by, handles_of, page
from gearman_manager.api.pages import PAGING, page_of
from gearman_manager.api.requests import json_body
from gearman_manager.api.schemas import JOB, JOB_DETAILS, KEY
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import ManagerError

_STATES: Final = {"enum": [*STATES], "type": "string"}
_HANDLES: Final = only("handles", handles=HANDLES)
_GIVEN: Final = [{"required": [name], "properties": {name: {"type": "string"}}} for name in NAMES]
_SOME: Final = {**only(**CHOICE), "anyOf": _GIVEN}


def job_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/jobs`, but those of batches."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/jobs")
    @Operation(
        "Queued and running jobs of all job servers.",
        {200: page_of(JOB)},
        query={**CONDITIONS, "state": _STATES},
        refusals=(409, 502),
    )
    def listed() -> ResponseReturnValue:
        return page(jobs, "jobs")

    @routes.get("/jobs/keys")
    @Operation(
        "The keys of a function's jobs, those with the most waiting jobs first.",
        {200: page_of(KEY)},
        query={"function": NAME, **PAGING},
        required=("function",),
        refusals=(409, 502),
    )
    def keys() -> ResponseReturnValue:
        return page(jobs, "jobs/keys")

    @routes.get("/jobs/", defaults={"handle": ""})
    @routes.get("/jobs/<path:handle>")
    @Operation("All details of a job.", {200: JOB_DETAILS}, refusals=(404, 409, 502))
    def show(handle: str) -> ResponseReturnValue:
        return jsonify(jobs.show("jobs", handle))

    @routes.post("/jobs/cancel")
    @Operation("Cancel waiting jobs.", {200: record(cancelled=COUNT)}, body=_HANDLES, refusals=(409, 502))
    def cancel() -> ResponseReturnValue:
        return jsonify({"cancelled": jobs.cancel(handles_of(json_body()))})

    @routes.post("/jobs/stop")
    @Operation(
        "Stop running jobs, and cancel waiting ones.", {200: record(stopped=COUNT)}, body=_HANDLES, refusals=(409, 502)
    )
    def stop() -> ResponseReturnValue:
        return jsonify({"stopped": jobs.stop(handles_of(json_body()))})

    @routes.post("/jobs/purge")
    @Operation(
        "Cancel all waiting jobs of a function, with a tag or with a key.",
        {200: record(cancelled=COUNT)},
        body=_SOME,
        refusals=(409, 502),
    )
    def purge() -> ResponseReturnValue:
        body = json_body()
        chosen = chosen_by(body)
        if all(body.get(name) is None for name in NAMES):
            raise ManagerError("function, tag or key: those of the waiting jobs that are to be cancelled are expected")
        return jsonify({"cancelled": jobs.change("jobs purge", chosen)})

    return routes
