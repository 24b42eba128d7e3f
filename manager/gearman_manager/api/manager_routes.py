"""The API's routes for the manager as a whole: `/status`, `/health`, `/stop`, `/reload` and `/logs`."""

from __future__ import annotations

from typing import Protocol

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Kind, Role
from gearman_manager.access.guards import current_caller
from gearman_manager.api.description import FLAG, NAME, PRESENT, TEXT, Operation, list_of, record
from gearman_manager.api.schemas import STATUS
from gearman_manager.control.problems import problem
from gearman_manager.control.status import StatusReport
from gearman_manager.errors import NotFound
from gearman_manager.live.event_stream import LIFETIME_S
from gearman_manager.logs.recent_log import RecentLog, Subject


class Health(Protocol):
    """The manager's health as the routes see it."""

    @property
    def is_up(self) -> bool:
        """Whether a job server answers and the workers that there must be are there."""

    @property
    def is_healthy(self) -> bool:
        """Whether pools and job servers can do all of their work."""

    @property
    def text(self) -> str:
        """One line."""


class Manager(Protocol):
    """The supervisor as the routes see it. Its methods note the wish and return at once."""

    def stop(self) -> None:
        """Finish running jobs, then end."""

    def reload(self) -> None:
        """Load configuration and code anew."""

    def health(self) -> Health:
        """The manager's health now."""


def manager_routes(manager: Manager, status: StatusReport, recent_log: RecentLog) -> Blueprint:
    """The routes for status, health, stop, reload and logs."""
    routes = Blueprint("manager", __name__)

    @routes.get("/status")
    @Operation("Pools, workers, functions and job servers, and what is wrong.", {200: STATUS})
    def report() -> ResponseReturnValue:
        return jsonify(status.report())

    @routes.get("/health")
    @Operation("Whether all is well, in one line; 503 if not.", {200: record(health=TEXT)}, refusals=(503,))
    def health() -> ResponseReturnValue:
        now = manager.health()
        return jsonify({"health": now.text}) if now.is_healthy else problem(503, now.text)

    @routes.post("/stop")
    @Operation("Finish running jobs, then end.", {202: record(stopping=FLAG)}, refusals=(409,), needs=Role.ADMIN)
    def stop() -> ResponseReturnValue:
        manager.stop()
        return jsonify({"stopping": True}), 202

    @routes.post("/reload")
    @Operation("Load configuration and code anew.", {202: record(reloading=FLAG)}, needs=Role.ADMIN)
    def reload() -> ResponseReturnValue:
        manager.reload()
        return jsonify({"reloading": True}), 202

    @routes.get("/logs")
    @Operation(
        "The last lines of the log: of all, of a POOL or a worker POOL/N, about all jobs or about one; "
        "with `follow` as text, and on and on.",
        {200: list_of(TEXT)},
        query={"of": NAME, "job": NAME, "follow": PRESENT},
        refusals=(404,),
    )
    def logs() -> ResponseReturnValue:
        of = request.args.get("of")
        subject = Subject(of, request.args.get("job"))
        said = recent_log.lines(subject)
        pools = status.pool_names
        if of is not None and not said and of.partition("/")[0] not in pools:
            raise NotFound(f"{of} has logged nothing; the pools are: {', '.join(pools)}")
        if "follow" not in request.args:
            return jsonify(said)
        # Elsewhere than on the control socket a session can end meanwhile: the caller asks again, as for events.
        lifetime_s = None if current_caller().kind is Kind.SOCKET else LIFETIME_S
        lines = (line + "\n" for line in recent_log.follow(subject, lifetime_s))
        return Response(lines, mimetype="text/plain; charset=utf-8")

    return routes
