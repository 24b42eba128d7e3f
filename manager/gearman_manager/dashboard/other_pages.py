"""Schedules, job servers, and the history of actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager import __version__
from gearman_manager.api.function_routes import schedules_in
from gearman_manager.api.pages import cursor_before, id_before
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.status import StatusReport
from gearman_manager.dashboard.forms import address_of, done
from gearman_manager.dashboard.rendering import SELDOM_S, page
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.schedule_runs import with_runs
from gearman_manager.history.action_log import CONDITIONS, ActionLog
from gearman_manager.peers.watch import Peers

ROWS: Final = 100
Report = Mapping[str, Any]


def add_schedules(routes: Blueprint, jobs: ServerJobs, keeper: Keeper) -> None:
    """The page of schedules, with a button for each."""

    @routes.get("/schedules")
    def schedules() -> ResponseReturnValue:
        cursor = request.args.get("cursor") or None
        part = schedules_in(jobs.schedules(), cursor, ROWS)
        return page(
            "schedules.html",
            every=SELDOM_S,
            part=part,
            rows=with_runs(part.rows, keeper),
            is_first=cursor is None,
            next=part.next and address_of("schedules", {"cursor": part.next}),
            first=address_of("schedules", {}),
        )

    @routes.post("/schedules/<path:name>/trigger")
    def trigger(name: str) -> ResponseReturnValue:
        return done(url_for("dashboard.job", handle=jobs.trigger(name)), "triggered")

    @routes.post("/schedules/<path:name>/<any(pause, resume):what>")
    def pause_schedule(name: str, what: str) -> ResponseReturnValue:
        jobs.pause_schedule(name, is_end=what == "resume")
        return done(url_for("dashboard.schedules"), f"schedule-{what}d")


def add_servers(
    routes: Blueprint,
    overview: Callable[[], Report],
    status: StatusReport,
    facts: Callable[[], Mapping[str, Report]],
    peers: Peers,
) -> None:
    """The pages of job servers and of managers."""

    @routes.get("/servers")
    def servers() -> ResponseReturnValue:
        others = [each for each in peers.report() if not each["self"]] if peers.are_any else []
        return page(
            "servers.html",
            every=SELDOM_S,
            now=overview(),
            notices=status.notices(),
            facts=facts(),
            peers=others,
            version=__version__,
        )

    @routes.get("/peers")
    def managers() -> ResponseReturnValue:
        return page("peers.html", every=SELDOM_S, managers=peers.report())


def add_history(routes: Blueprint, actions: ActionLog) -> None:
    """The page of actions."""

    @routes.get("/history")
    def history() -> ResponseReturnValue:
        chosen = {name: value for name in CONDITIONS if (value := request.args.get(name, "").strip())}
        before = id_before(request.args.get("cursor") or None)
        rows = actions.page(ROWS, before, chosen)
        cursor = cursor_before(rows, ROWS)
        return page(
            "history.html",
            events=before is None,
            rows=rows,
            chosen=chosen,
            is_first=before is None,
            next=cursor and address_of("history", chosen | {"cursor": cursor}),
            first=address_of("history", chosen),
        )
