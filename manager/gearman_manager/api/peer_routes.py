"""The API's routes for managers: `/summary` of this one, and `/peers` of all that it knows."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gearman_manager.api.description import COUNT, FLAG, MOMENT, TEXT, WHOLE, Operation, list_of, or_null, record
from gearman_manager.peers.watch import Peers

_SERVER: Final = record(
    address=TEXT,
    up=or_null(FLAG),
    trouble=or_null(TEXT),
    version=or_null(TEXT),
    store=or_null(TEXT),
    connections=or_null(COUNT),
)
_SUMMARY: Final = record(
    name=TEXT,
    pid=WHOLE,
    since=MOMENT,
    version=TEXT,
    well=FLAG,
    text=TEXT,
    troubles=list_of(TEXT),
    pools=COUNT,
    workers=COUNT,
    busy=COUNT,
    queued=COUNT,
    running=COUNT,
    servers=list_of(_SERVER),
)
_MANAGER: Final = record(
    url=TEXT,
    name=TEXT,
    self=FLAG,
    up=or_null(FLAG),
    since=or_null(MOMENT),
    asked=or_null(MOMENT),
    error=TEXT,
    summary=or_null(_SUMMARY),
)


def peer_routes(peers: Peers) -> Blueprint:
    """The routes."""
    routes = Blueprint("peers", __name__)

    @routes.get("/summary")
    @Operation("This manager in few words, as its peers ask for it.", {200: _SUMMARY})
    def summary() -> ResponseReturnValue:
        return jsonify(peers.own())

    @routes.get("/peers")
    @Operation(
        "This manager and its peers: `summary` is the last word of each, `up` and `since` tell whether it answers now.",
        {200: record(managers=list_of(_MANAGER))},
    )
    def listed() -> ResponseReturnValue:
        return jsonify({"managers": peers.report()})

    return routes
