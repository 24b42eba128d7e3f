"""The API's routes `/me`, who the manager takes the caller for, and `/dashboard`, where the pages are."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Kind
from gearman_manager.access.guards import current_caller
from gearman_manager.api.description import TEXT, Operation, or_null, record


def caller_routes(url: Callable[[], str | None]) -> Blueprint:
    """The routes. `url` tells the address of the pages."""
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

    @routes.get("/dashboard")
    @Operation("Where a browser on the manager's machine finds the dashboard.", {200: record(url=or_null(TEXT))})
    def dashboard() -> ResponseReturnValue:
        return jsonify(url=url())

    return routes
