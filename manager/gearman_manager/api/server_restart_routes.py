"""The API's route `/restart-server`: replace bundled job servers one after the other, and follow that."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Role
from gearman_manager.api.answers import followed
from gearman_manager.api.description import FLAG, PRESENT, WHOLE, Operation, only, or_null
from gearman_manager.api.requests import json_body, seconds_of, whole_of
from gearman_manager.api.schemas import DURATION, SERVER_RESTART
from gearman_manager.control.server_restarts import ServerRestarts
from gearman_manager.errors import ManagerError

#: How long a job server may finish its running jobs, if the request does not say.
WITHIN_S: Final = 30.0
_BODY: Final = only(instance=or_null({**WHOLE, "minimum": 1}), within=DURATION, force=FLAG)


def server_restart_routes(restarts: ServerRestarts) -> Blueprint:
    """The routes. The answer to POST comes at once, with what is about to be done."""
    routes = Blueprint("restart-server", __name__)

    @routes.post("/restart-server")
    @Operation(
        "Replace the bundled job servers, or one of them, one after the other.",
        {202: SERVER_RESTART},
        body=_BODY,
        is_body_optional=True,
        refusals=(404, 409),
        needs=Role.ADMIN,
    )
    def begin() -> ResponseReturnValue:
        body = json_body()
        number, force = whole_of(body, "instance"), body.get("force", False)
        if number is None and body.get("instance") is not None:
            raise ManagerError(f"instance: the number of a job server is expected, from 1 up, not {body['instance']!r}")
        if not isinstance(force, bool):
            raise ManagerError(f"force: true or false is expected, not {force!r}")
        within_s = seconds_of(body, "within")
        restarts.begin(number, WITHIN_S if within_s is None else within_s, force=force)
        return jsonify(restarts.report()), 202

    @routes.get("/restart-server")
    @Operation(
        "How far the last replacement is; with `follow` a line of JSON at each change, until it is over.",
        {200: SERVER_RESTART},
        query={"follow": PRESENT},
        refusals=(404,),
    )
    def follow() -> ResponseReturnValue:
        return followed(restarts, "no job server was replaced by hand; POST /restart-server begins that")

    return routes
