"""The control API's routes for pools: `/pools/NAME/scale`, `pause`, `resume` and `decisions`, and `/restart`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import json_body
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.errors import ManagerError


def pool_routes(changes: OperatorChanges, explanations: Explanations) -> Blueprint:
    """The routes for an operator's changes to pools, which only note the wish and repeat it, and for the reasons why a
    pool has as many workers as it has."""
    routes = Blueprint("pools", __name__)

    @routes.get("/pools/<path:name>/decisions")
    def decisions(name: str) -> ResponseReturnValue:
        return jsonify(explanations.report(name))

    @routes.post("/pools/<path:name>/scale")
    def scale(name: str) -> ResponseReturnValue:
        low, high = _size(json_body("min", "max"))
        changes.scale(name, low, high)
        return jsonify({"min": low, "max": high}), 202

    @routes.post("/pools/<path:name>/pause")
    def pause(name: str) -> ResponseReturnValue:
        changes.pause(name)
        return jsonify({"paused": True}), 202

    @routes.post("/pools/<path:name>/resume")
    def resume(name: str) -> ResponseReturnValue:
        changes.resume(name)
        return jsonify({"paused": False}), 202

    @routes.post("/restart")
    def restart() -> ResponseReturnValue:
        changes.restart(request.args.get("pool"))
        return jsonify({"restarting": request.args.get("pool")}), 202

    return routes


def _size(body: Mapping[str, Any]) -> tuple[int, int]:
    low, high = body.get("min"), body.get("max")
    if not isinstance(low, int) or not isinstance(high, int):
        raise ManagerError(f"min and max, two whole numbers, are expected, not {low!r} and {high!r}")
    return low, high
