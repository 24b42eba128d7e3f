"""The API's route `/me`: who the manager takes the caller for, and what a page of the session needs to know."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Kind
from gearman_manager.access.guards import current_caller
from gearman_manager.api.description import TEXT, Operation, record


def caller_routes() -> Blueprint:
    """The route."""
    routes = Blueprint("caller", __name__)

    @routes.get("/me")
    @Operation(
        "Who you are here; `csrf_token` goes into the header `X-CSRF-Token` of requests that change something.",
        {
            200: record(
                kind={"type": "string", "enum": [kind.value for kind in Kind]},
                name=TEXT,
                who=TEXT,
                role=TEXT,
                address=TEXT,
                csrf_token=TEXT,
            )
        },
    )
    def me() -> ResponseReturnValue:
        caller = current_caller()
        assert caller.role is not None
        return jsonify(
            kind=caller.kind.value,
            name=caller.name,
            who=caller.who,
            role=caller.role.word,
            address=caller.address,
            csrf_token=caller.csrf,
        )

    return routes
