"""Failures in groups: the list of groups, one with its chart, sample and jobs, and what can be done to it."""

from __future__ import annotations

import math
import time
from typing import Final

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.api.failure_routes import cursor_after, place_of
from gearman_manager.dashboard.forms import address_of, done, whole_number
from gearman_manager.dashboard.rendering import SELDOM_S, page
from gearman_manager.errors import ManagerError
from gearman_manager.failures.group_changes import GroupChanges
from gearman_manager.failures.group_file import HOUR_S
from gearman_manager.failures.groups import FailureGroups
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s

ROWS: Final = 50
_JOBS: Final = 25
#: Marks go on over restarts: they grow with each failure that there ever was.
_MARK_DIGITS: Final = 18
_NOTHING: Final = ("", "ever", "forever")


def add_failure_pages(routes: Blueprint, groups: FailureGroups) -> None:
    """The pages."""

    @routes.get("/failures")
    def failures() -> ResponseReturnValue:
        function = request.args.get("function", "").strip()
        cursor = request.args.get("cursor") or None
        rows = groups.page(function or None, place_of(cursor), ROWS)
        chosen = {"function": function} if function else {}
        following = cursor_after(rows, ROWS)
        return page(
            "failures.html",
            every=SELDOM_S,
            groups=[row for row in rows if not row["is_muted"]],
            muted=[row for row in rows if row["is_muted"]],
            chosen=chosen,
            is_first=cursor is None,
            next=following and address_of("failures", chosen | {"cursor": following}),
            first=address_of("failures", chosen),
        )

    @routes.app_context_processor
    def of_jobs() -> dict[str, object]:
        return {"group_like": lambda job: groups.like(job["function"], job.get("error", ""), job.get("traceback", ""))}

    @routes.get("/failures/<name>")
    def failure(name: str) -> ResponseReturnValue:
        group = groups.show(name, _JOBS)
        days = [
            (group["hours_from"] + at * HOUR_S, sum(group["hours"][at : at + 24]))
            for at in range(0, len(group["hours"]), 24)
        ]
        return page("failure.html", every=SELDOM_S, group=group, days=days)


def add_failure_forms(routes: Blueprint, changes: GroupChanges) -> None:
    """The forms. A retry or drop names the mark of the page: what died later is not meant."""

    @routes.post("/failures/<name>/<any(retry, drop):what>")
    def change_failures(name: str, what: str) -> ResponseReturnValue:
        mark = whole_number("mark", "the page's mark", _MARK_DIGITS)
        expected = whole_number("expected", "how many they are")
        return redirect(url_for("dashboard.change", name=changes.begin(what, name, mark, expected).id), 303)

    @routes.post("/failures/<name>/mute")
    def mute(name: str) -> ResponseReturnValue:
        given = request.form.get("for", "").strip()
        try:
            until = math.inf if given in _NOTHING else time.time() + parse_duration_s(given)
        except UnitError as error:
            raise ManagerError(f"for how long: {error}") from error
        changes.mute(name, until)
        return done(url_for("dashboard.failure", name=name), "muted")

    @routes.post("/failures/<name>/unmute")
    def unmute(name: str) -> ResponseReturnValue:
        changes.mute(name, None)
        return done(url_for("dashboard.failure", name=name), "unmuted")
