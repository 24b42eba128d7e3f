"""The control API's routes for the jobs, the dead letters, the functions and the schedules of the job servers."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import json_body
from gearman_manager.control.server_jobs import ServerJobs, conditions_of
from gearman_manager.errors import ManagerError

_CONDITIONS: Final = ("server", "function", "tag", "key", "state", "older", "limit", "after")
#: By family; the others know all conditions.
_FEWER: Final = {
    "jobs/keys": ("function", "server", "limit", "after"),
    "jobs/batches": ("state", "server", "limit", "after"),
}
_ENDED: Final = {"cancel": "cancelled", "stop": "stopped"}
_TEXTS: Final = ("function", "tag", "key")


def job_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/jobs`, `/dead` and `/schedules`, but those of batches."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/jobs/keys", defaults={"family": "jobs/keys"})
    @routes.get("/<any(jobs, dead):family>")
    def page(family: str) -> ResponseReturnValue:
        return _page(jobs, family)

    @routes.get("/<any(jobs, dead):family>/", defaults={"handle": ""})
    @routes.get("/<any(jobs, dead):family>/<path:handle>")
    def show(family: str, handle: str) -> ResponseReturnValue:
        return jsonify(jobs.show(family, handle))

    @routes.post("/jobs/<any(cancel, stop):what>")
    def end(what: str) -> ResponseReturnValue:
        handles = _handles(json_body("handles"))
        return jsonify({"stopped": jobs.stop(handles)} if what == "stop" else {"cancelled": jobs.cancel(handles)})

    @routes.post("/jobs/purge")
    def purge() -> ResponseReturnValue:
        body = json_body(*_TEXTS, "older")
        chosen = _conditions(body)
        if all(body.get(name) is None for name in _TEXTS):
            raise ManagerError("function, tag or key: those of the waiting jobs that are to be cancelled are expected")
        return jsonify({"cancelled": jobs.change("jobs purge", chosen)})

    @routes.post("/dead/<any(retry, drop):what>")
    def change(what: str) -> ResponseReturnValue:
        body = json_body("handles", *_TEXTS, "older", "all")
        chosen = _handles(body) if "handles" in body else _conditions(body)
        everything = body.get("all") is True
        if bool(chosen) == everything or ("handles" in body and len(body) > 1):
            raise ManagerError('either handles, or function, tag, key and older, or "all": true alone is expected')
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


def batch_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/jobs/batches`."""
    routes = Blueprint("batches", __name__)

    @routes.get("/jobs/batches")
    def page() -> ResponseReturnValue:
        return _page(jobs, "jobs/batches")

    @routes.get("/jobs/batches/", defaults={"name": ""})
    @routes.get("/jobs/batches/<path:name>")
    def show(name: str) -> ResponseReturnValue:
        return jsonify(jobs.show("jobs/batches", name))

    @routes.post("/jobs/batches/<any(close, cancel, stop):what>")
    def end(what: str) -> ResponseReturnValue:
        name = json_body("id").get("id")
        if not isinstance(name, str) or not name:
            raise ManagerError("id: the id of a batch is expected")
        ended = jobs.end_batch(name, what)
        return jsonify({"closed": True} if ended is None else {"closed": True, _ENDED[what]: ended})

    return routes


def function_routes(jobs: ServerJobs) -> Blueprint:
    """The routes below `/functions`."""
    routes = Blueprint("functions", __name__)

    @routes.post("/functions/<path:name>/pause")
    def pause(name: str) -> ResponseReturnValue:
        jobs.pause(name)
        return jsonify({"paused": True})

    @routes.post("/functions/<path:name>/resume")
    def resume(name: str) -> ResponseReturnValue:
        jobs.resume(name)
        return jsonify({"paused": False})

    return routes


def _page(jobs: ServerJobs, family: str) -> ResponseReturnValue:
    known = _FEWER.get(family, _CONDITIONS)
    unknown = [name for name in request.args if name not in known]
    if unknown:
        raise ManagerError(f"{unknown[0]}: there is no such condition; there are {', '.join(known)}")
    return jsonify(jobs.page(family, request.args.to_dict()))


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
    texts, older_s = {name: body[name] for name in _TEXTS if body.get(name) is not None}, body.get("older")
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ManagerError(f"{name}: text is expected, not {text!r}")
    if older_s is not None and not _is_seconds(older_s):
        raise ManagerError(f"older: a number of seconds from 0 up is expected, not {older_s!r}")
    return conditions_of(texts, older_s)
