"""The control API's route `/drain`: begin a drain or move its end, and follow it."""

from __future__ import annotations

import json
from typing import Final, Protocol

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import json_body
from gearman_manager.control.drain_report import DrainReport
from gearman_manager.errors import ManagerError
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s

#: How long the answer waits for workers that may still begin a job: shorter than a client waits for an answer.
PATIENCE_S: Final = 5.0


class Drainable(Protocol):
    """The supervisor as the route sees it."""

    def drain(self, within_s: float | None) -> None:
        """Begin no job from now on, finish the running ones, and end."""

    def settle(self, patience_s: float) -> list[str]:
        """Wait for workers that may still begin a job; returns the names of those that still may."""


def drain_routes(manager: Drainable, report: DrainReport) -> Blueprint:
    """The routes. The answer to POST comes when no worker can begin a job any more, or names those that still may."""
    routes = Blueprint("drain", __name__)

    @routes.post("/drain")
    def drain() -> ResponseReturnValue:
        body = json_body("within") if request.content_length else {}
        manager.drain(_seconds(body.get("within")))
        left = manager.settle(PATIENCE_S)
        return jsonify(report.report()), 202 if left else 200

    @routes.get("/drain")
    def follow() -> ResponseReturnValue:
        now = report.report()
        if now is None:
            raise ManagerError("the manager does not drain; POST /drain begins that")
        if "follow" not in request.args:
            return jsonify(now)
        lines = (json.dumps(each) + "\n" for each in report.follow())
        return Response(lines, mimetype="application/x-ndjson")

    return routes


def _seconds(within: object) -> float | None:
    try:
        return None if within is None else parse_duration_s(within)
    except UnitError as error:
        raise ManagerError(f"within: {error}") from error
