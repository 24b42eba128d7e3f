"""The control API's route `/drain`: begin a drain or move its end, and follow it."""

from __future__ import annotations

from typing import Final, Protocol

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.control.app import followed, json_body, seconds_of
from gearman_manager.control.drain_report import DrainReport

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
        manager.drain(seconds_of(body, "within"))
        left = manager.settle(PATIENCE_S)
        return jsonify(report.report()), 202 if left else 200

    @routes.get("/drain")
    def follow() -> ResponseReturnValue:
        return followed(report, "the manager does not drain; POST /drain begins that")

    return routes
