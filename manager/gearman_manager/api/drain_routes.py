"""The API's route `/drain`: begin a drain or move its end, and follow it."""

from __future__ import annotations

from typing import Final, Protocol

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Role
from gearman_manager.api.answers import followed
from gearman_manager.api.description import PRESENT, Operation, only
from gearman_manager.api.requests import json_body, seconds_of
from gearman_manager.api.schemas import DRAIN, DURATION
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
    @Operation(
        "Begin no job any more, finish the running ones, and end; again: move the end.",
        {200: DRAIN, 202: DRAIN},
        body=only(within=DURATION),
        is_body_optional=True,
        refusals=(409,),
        needs=Role.ADMIN,
    )
    def drain() -> ResponseReturnValue:
        manager.drain(seconds_of(json_body(), "within"))
        left = manager.settle(PATIENCE_S)
        return jsonify(report.report()), 202 if left else 200

    @routes.get("/drain")
    @Operation(
        "What is left of a drain; with `follow` a line of JSON at each change, until the manager ends.",
        {200: DRAIN},
        query={"follow": PRESENT},
        refusals=(404,),
    )
    def follow() -> ResponseReturnValue:
        return followed(report, "the manager does not drain; POST /drain begins that")

    return routes
