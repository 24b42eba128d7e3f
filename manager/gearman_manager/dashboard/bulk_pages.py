"""All jobs that match: how many they are, a form for each change of all of them, and how far a change has come."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Role
from gearman_manager.access.requirements import needs
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import Report
from gearman_manager.control.change_words import DONE, LEFT
from gearman_manager.control.matching_jobs import CHANGES, Matching
from gearman_manager.control.server_jobs import conditions_of
from gearman_manager.dashboard.forms import address_of, whole_number
from gearman_manager.dashboard.job_search import asked, conditions
from gearman_manager.dashboard.rendering import page

#: How long a list shows a change that has ended.
_RECENT_S: Final = 600.0
#: What the buttons say, and the title of a change.
_LABELS: Final = {"cancel": "Cancel", "stop": "Stop", "retry": "Queue again", "drop": "Forget", "again": "Run again"}


def add_bulk_pages(routes: Blueprint, all_that_match: AllThatMatch) -> None:
    """The pages."""

    @routes.get("/jobs/all", defaults={"family": "jobs"})  # paths of their own: others are handles
    @routes.get("/dead/all", defaults={"family": "dead"})
    @needs(Role.OPERATOR)
    def every(family: str) -> ResponseReturnValue:
        matching = _matching(family, request.args)
        counts = all_that_match.count(matching)
        now = replace(matching, seen_at=time.time())
        chosen = conditions(family, request.args)
        return page(
            "all.html",
            every=0,
            family=family,
            chosen=chosen,
            seen_at=matching.seen_at,
            counts=counts,
            found=sum(counts.by_state.values()),
            later=max(0, sum(all_that_match.count(now).by_state.values()) - sum(counts.by_state.values())),
            changes={what: counts.of(what) for what, kind in CHANGES.items() if kind.family == family},
            labels=_LABELS,
            again=address_of("every", chosen | {"seen": f"{now.seen_at:.6f}"}, family=family),
            back=address_of(f"{family}_listed", chosen),
        )

    @routes.app_context_processor
    def of_lists() -> dict[str, object]:
        return {"changes_of": lambda family: _latest(all_that_match, family)}

    @routes.get("/changes/<name>")
    def change(name: str) -> ResponseReturnValue:
        report = all_that_match.changes.report(name)
        family, _, what = report["what"].partition(" ")
        is_finished = family == "finished"
        back = address_of("jobs_listed", {"state": family}) if is_finished else url_for(f"dashboard.{family}_listed")
        return page(
            "change.html",
            report=report,
            what=what,
            back=back,
            done=DONE[what],
            label=_LABELS[what],
            left=LEFT.get(what, ""),
        )


def _latest(all_that_match: AllThatMatch, family: str) -> list[Report]:
    """The changes of a list's jobs that are under way, or have just ended."""
    recent = time.time() - _RECENT_S
    reports = (report for report in all_that_match.changes.reports() if report["what"].startswith(f"{family} "))
    return [report for report in reports if report["ended"] is None or report["ended"] > recent]


def add_bulk_forms(routes: Blueprint, all_that_match: AllThatMatch) -> None:
    """The forms: they say which jobs are meant, of those that were there at a moment, and how many these were."""

    @routes.post("/jobs/all/<any(cancel, stop):what>")
    def change_all_jobs(what: str) -> ResponseReturnValue:
        return _begin("jobs", what)

    @routes.post("/dead/all/<any(retry, drop):what>")
    def change_all_dead(what: str) -> ResponseReturnValue:
        return _begin("dead", what)

    def _begin(family: str, what: str) -> ResponseReturnValue:
        begun = all_that_match.begin(
            what, _matching(family, request.form), whole_number("expected", "how many they are")
        )
        return redirect(url_for("dashboard.change", name=begun.id), 303)


def _matching(family: str, given: Mapping[str, str]) -> Matching:
    """The jobs that are meant; without a moment, those that are there now."""
    chosen = conditions(family, given)
    state = chosen.pop("state", "")
    try:
        seen_at = float(given.get("seen", ""))
    except ValueError:
        seen_at = math.nan
    now = time.time()
    moment = seen_at if 0 <= seen_at < now else now
    return Matching(family, tuple(conditions_of(asked(chosen, moment))), moment, state)
