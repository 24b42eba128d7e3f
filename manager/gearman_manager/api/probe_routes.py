"""The probes `/livez` and `/readyz`, for those who start containers. Everybody may ask: only the status tells."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from gearman_manager.access.guards import current_caller
from gearman_manager.access.requirements import needs
from gearman_manager.api.manager_routes import Manager


def probe_routes(manager: Manager) -> Blueprint:
    """The routes. Callers who may look at the manager are told why it is not ready; others are not."""
    routes = Blueprint("probes", __name__)

    @routes.get("/livez")
    @needs(None)
    def alive() -> ResponseReturnValue:
        return _text("ok", 200)

    @routes.get("/readyz")
    @needs(None)
    def ready() -> ResponseReturnValue:
        now = manager.health()
        is_ready = now.is_healthy and now.is_up
        reason = now.text if current_caller().role is not None else "ok" if is_ready else "not ready"
        return _text(reason, 200 if is_ready else 503)

    return routes


def _text(text: str, status: int) -> Response:
    return Response(text + "\n", status, mimetype="text/plain")
