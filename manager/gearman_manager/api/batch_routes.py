"""The API's routes for batches of jobs, below `/jobs/batches`."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, FLAG, NAME, Operation, only, record
from gearman_manager.api.job_choices import page
from gearman_manager.api.pages import PAGING, page_of
from gearman_manager.api.requests import json_body, name_of
from gearman_manager.api.schemas import BATCH, BATCH_DETAILS
from gearman_manager.control.server_jobs import ServerJobs

_STATES: Final = {"enum": ["open", "closed", "done"], "type": "string"}
_ID: Final = only("id", id=NAME)
_ENDED: Final = {"cancel": "cancelled", "stop": "stopped"}


def batch_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/jobs/batches`."""
    routes = Blueprint("batches", __name__)

    @routes.get("/jobs/batches")
    @Operation("Batches of jobs.", {200: page_of(BATCH)}, query={"state": _STATES, **PAGING}, refusals=(409, 502))
    def listed() -> ResponseReturnValue:
        return page(jobs, "jobs/batches")

    @routes.get("/jobs/batches/", defaults={"name": ""})
    @routes.get("/jobs/batches/<path:name>")
    @Operation("All details of a batch.", {200: BATCH_DETAILS}, refusals=(404, 409, 502))
    def show(name: str) -> ResponseReturnValue:
        return jsonify(jobs.show("jobs/batches", name))

    @routes.post("/jobs/batches/close")
    @Operation(
        "Close a batch: no job joins it any more.", {200: record(closed=FLAG)}, body=_ID, refusals=(404, 409, 502)
    )
    def close() -> ResponseReturnValue:
        return _end("close")

    @routes.post("/jobs/batches/<any(cancel, stop):what>")
    @Operation(
        "Close a batch, and cancel those of its jobs that wait; or stop those that run too.",
        {200: {**record(closed=FLAG), "properties": {"closed": FLAG, "cancelled": COUNT, "stopped": COUNT}}},
        body=_ID,
        refusals=(404, 409, 502),
    )
    def end(what: str) -> ResponseReturnValue:
        return _end(what)

    def _end(what: str) -> ResponseReturnValue:
        ended = jobs.end_batch(name_of(json_body(), "id", "the id of a batch"), what)
        return jsonify({"closed": True} if ended is None else {"closed": True, _ENDED[what]: ended})

    return routes
