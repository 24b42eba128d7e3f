"""The API's routes for pools: `/pools/NAME/scale`, `pause`, `resume` and `decisions`, and `/restart`."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, FLAG, NAME, TEXT, WHOLE, Operation, only, or_null, record
from gearman_manager.api.requests import json_body, whole_of
from gearman_manager.api.schemas import DECISIONS
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.errors import ManagerError

_PAUSED: Final = record(paused=FLAG)
_BOUNDS: Final = only("min", "max", min=COUNT, max={**WHOLE, "minimum": 1})


def pool_routes(changes: OperatorChanges, explanations: Explanations) -> Blueprint:
    """The routes for an operator's changes to pools, which only note the wish and repeat it, and for the reasons why a
    pool has as many workers as it has."""
    routes = Blueprint("pools", __name__)

    @routes.get("/pools/<path:name>/decisions")
    @Operation("Why the pool has as many workers as it has.", {200: DECISIONS}, refusals=(404,))
    def decisions(name: str) -> ResponseReturnValue:
        return jsonify(explanations.report(name))

    @routes.post("/pools/<path:name>/scale")
    @Operation(
        "Give the pool another size, until a reload.",
        {202: record(min=COUNT, max=COUNT)},
        body=_BOUNDS,
        refusals=(404,),
    )
    def scale(name: str) -> ResponseReturnValue:
        body = json_body()
        low, high = whole_of(body, "min"), whole_of(body, "max")
        if low is None or high is None:
            message = "min and max, two whole numbers, are expected"
            raise ManagerError(f"{message}, not {body.get('min')!r} and {body.get('max')!r}")
        changes.scale(name, low, high)
        return jsonify({"min": low, "max": high}), 202

    @routes.post("/pools/<path:name>/pause")
    @Operation("Let the pool's workers finish, and start no others.", {202: _PAUSED}, refusals=(404, 409))
    def pause(name: str) -> ResponseReturnValue:
        changes.pause(name)
        return jsonify({"paused": True}), 202

    @routes.post("/pools/<path:name>/resume")
    @Operation("Let a paused pool go on.", {202: _PAUSED}, refusals=(404, 409))
    def resume(name: str) -> ResponseReturnValue:
        changes.resume(name)
        return jsonify({"paused": False}), 202

    @routes.post("/workers/<path:name>/restart")
    @Operation(
        "Replace one worker, POOL/N, which finishes its job first.", {202: record(restarting=TEXT)}, refusals=(404,)
    )
    def restart_worker(name: str) -> ResponseReturnValue:
        changes.restart_worker(name)
        return jsonify({"restarting": name}), 202

    @routes.post("/restart")
    @Operation(
        "Replace the workers of a pool, or of all pools, one after the other.",
        {202: record(restarting=or_null(TEXT))},
        query={"pool": NAME},
        refusals=(404, 409),
    )
    def restart() -> ResponseReturnValue:
        changes.restart(request.args.get("pool"))
        return jsonify({"restarting": request.args.get("pool")}), 202

    return routes
