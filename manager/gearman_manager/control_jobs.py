"""The control API's routes for the jobs, the dead letters and the schedules of the job servers."""

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.errors import ManagerError
from gearman_manager.server_jobs import ServerJobs, conditions_of

_CONDITIONS: Final = ("server", "function", "state", "older", "limit", "after")


def job_routes(jobs: ServerJobs) -> Blueprint:
    """`/jobs`, `/dead` and `/schedules`."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/<any(jobs, dead):family>")
    def page(family: str) -> ResponseReturnValue:
        conditions = {name: request.args[name] for name in _CONDITIONS if name in request.args}
        return jsonify(jobs.page(family, conditions))

    @routes.get("/<any(jobs, dead):family>/<path:handle>")
    def show(family: str, handle: str) -> ResponseReturnValue:
        return jsonify(jobs.show(family, handle))

    @routes.post("/jobs/cancel")
    def cancel() -> ResponseReturnValue:
        return jsonify({"cancelled": jobs.cancel(_handles(_body()))})

    @routes.post("/jobs/purge")
    def purge() -> ResponseReturnValue:
        body = _body()
        if not isinstance(body.get("function"), str):
            raise ManagerError("function: the name of the function whose waiting jobs are to be cancelled is expected")
        return jsonify({"cancelled": jobs.change("jobs purge", _conditions(body))})

    @routes.post("/dead/<any(retry, drop):what>")
    def change(what: str) -> ResponseReturnValue:
        body = _body()
        chosen = _handles(body) if "handles" in body else _conditions(body)
        if not chosen and body.get("all") is not True:
            raise ManagerError('handles, function, older or "all": true is expected')
        return jsonify({"changed": jobs.change(f"dead {what}", chosen or ["all"])})

    @routes.get("/schedules")
    def schedules() -> ResponseReturnValue:
        return jsonify(jobs.schedules())

    @routes.post("/schedules/trigger")
    def trigger() -> ResponseReturnValue:
        name = _body().get("name")
        if not isinstance(name, str) or not name:
            raise ManagerError("name: the name of a schedule is expected")
        return jsonify({"handle": jobs.trigger(name)})

    return routes


def _body() -> Mapping[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ManagerError("a JSON object is expected as the body")
    return body


def _handles(body: Mapping[str, Any]) -> list[str]:
    handles = body.get("handles")
    if not isinstance(handles, list) or not handles or not all(_is_handle(handle) for handle in handles):
        raise ManagerError("handles: a list of job handles is expected")
    return handles


def _is_handle(handle: object) -> bool:
    return isinstance(handle, str) and handle.isprintable() and not set(handle) & {" ", "="} and handle != ""


def _conditions(body: Mapping[str, Any]) -> list[str]:
    function, older_s = body.get("function"), body.get("older")
    if function is not None and not isinstance(function, str):
        raise ManagerError("function: a name is expected")
    if older_s is not None and not isinstance(older_s, (int, float)):
        raise ManagerError("older: a number of seconds is expected")
    return conditions_of(function, older_s)
