"""The control API's routes for the jobs, the dead letters and the schedules of the job servers."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import json_body
from gearman_manager.control.server_jobs import ServerJobs, conditions_of
from gearman_manager.errors import ManagerError

_CONDITIONS: Final = ("server", "function", "state", "older", "limit", "after")


def job_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/jobs`, `/dead` and `/schedules`."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/<any(jobs, dead):family>")
    def page(family: str) -> ResponseReturnValue:
        unknown = [name for name in request.args if name not in _CONDITIONS]
        if unknown:
            raise ManagerError(f"{unknown[0]}: there is no such condition; there are {', '.join(_CONDITIONS)}")
        return jsonify(jobs.page(family, request.args.to_dict()))

    @routes.get("/<any(jobs, dead):family>/", defaults={"handle": ""})
    @routes.get("/<any(jobs, dead):family>/<path:handle>")
    def show(family: str, handle: str) -> ResponseReturnValue:
        return jsonify(jobs.show(family, handle))

    @routes.post("/jobs/cancel")
    def cancel() -> ResponseReturnValue:
        return jsonify({"cancelled": jobs.cancel(_handles(json_body("handles")))})

    @routes.post("/jobs/purge")
    def purge() -> ResponseReturnValue:
        body = json_body("function", "older")
        if not isinstance(body.get("function"), str):
            raise ManagerError("function: the name of the function whose waiting jobs are to be cancelled is expected")
        return jsonify({"cancelled": jobs.change("jobs purge", _conditions(body))})

    @routes.post("/dead/<any(retry, drop):what>")
    def change(what: str) -> ResponseReturnValue:
        body = json_body("handles", "function", "older", "all")
        chosen = _handles(body) if "handles" in body else _conditions(body)
        everything = body.get("all") is True
        if bool(chosen) == everything or ("handles" in body and len(body) > 1):
            raise ManagerError('either handles, or function and older, or "all": true alone is expected')
        return jsonify({"changed": jobs.change(f"dead {what}", chosen or ["all"])})

    @routes.get("/schedules")
    def schedules() -> ResponseReturnValue:
        return jsonify(jobs.schedules())

    @routes.post("/schedules/trigger")
    def trigger() -> ResponseReturnValue:
        name = json_body("name").get("name")
        if not isinstance(name, str) or not name:
            raise ManagerError("name: the name of a schedule is expected")
        return jsonify({"handle": jobs.trigger(name)})

    return routes


def _handles(body: Mapping[str, Any]) -> list[str]:
    handles = body.get("handles")
    if not isinstance(handles, list) or not handles or not all(_is_handle(handle) for handle in handles):
        raise ManagerError("handles: a list of job handles is expected")
    return handles


def _is_handle(handle: object) -> bool:
    return isinstance(handle, str) and handle.isprintable() and not set(handle) & {" ", "="} and handle != ""


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _conditions(body: Mapping[str, Any]) -> list[str]:
    function, older_s = body.get("function"), body.get("older")
    if function is not None and not isinstance(function, str):
        raise ManagerError("function: a name is expected")
    if older_s is not None and not _is_seconds(older_s):
        raise ManagerError(f"older: a number of seconds from 0 up is expected, not {older_s!r}")
    return conditions_of(function, older_s)
