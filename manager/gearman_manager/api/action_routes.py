"""The API's route `/actions`: who did what, when, from where, and how it ended."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import MOMENT, NAME, TEXT, WHOLE, Operation, list_of, record
from gearman_manager.api.pages import DEFAULT_LIMIT, PAGING, cursor_before, id_before, page_of
from gearman_manager.history.action_log import CONDITIONS, ActionLog

_ACTION: Final = record(
    id=WHOLE,
    at=MOMENT,
    who=TEXT,
    role=TEXT,
    address=TEXT,
    what=TEXT,
    target=TEXT,
    details=TEXT,
    status=WHOLE,
    outcome=TEXT,
)


def action_routes(actions: ActionLog) -> Blueprint:
    """The route."""
    routes = Blueprint("actions", __name__)

    @routes.get("/actions")
    @Operation(
        "The last actions, the newest first: changes that were made or refused.",
        {200: page_of(_ACTION, actions=list_of(_ACTION))},
        query={**dict.fromkeys(CONDITIONS, NAME), **PAGING},
        refusals=(502,),
    )
    def listed() -> ResponseReturnValue:
        limit = int(request.args.get("limit", DEFAULT_LIMIT))
        rows = actions.page(limit, id_before(request.args.get("cursor")), request.args)
        return jsonify(actions=rows, next=cursor_before(rows, limit))

    return routes
