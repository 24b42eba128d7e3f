"""The control API's route `/restart-server`: replace bundled job servers one after the other, and follow that."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import followed, json_body, seconds_of
from gearman_manager.control.server_restarts import ServerRestarts
from gearman_manager.errors import ManagerError

#: How long a job server may finish its running jobs, if the request does not say.
WITHIN_S: Final = 30.0


def server_restart_routes(restarts: ServerRestarts) -> Blueprint:
    """The routes. The answer to POST comes at once, with what is about to be done."""
    routes = Blueprint("restart-server", __name__)

    @routes.post("/restart-server")
    def begin() -> ResponseReturnValue:
        body = json_body("instance", "within", "force") if request.content_length else {}
        number, force = body.get("instance"), body.get("force", False)
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise ManagerError(f"instance: the number of a job server is expected, from 1 up, not {number!r}")
        if not isinstance(force, bool):
            raise ManagerError(f"force: true or false is expected, not {force!r}")
        within_s = seconds_of(body, "within")
        restarts.begin(number, WITHIN_S if within_s is None else within_s, force=force)
        return jsonify(restarts.report()), 202

    @routes.get("/restart-server")
    def follow() -> ResponseReturnValue:
        return followed(restarts, "no job server was replaced by hand; POST /restart-server begins that")

    return routes
