"""Finished jobs that are run again: those that were chosen, and all that match and were there when one looked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Role
from gearman_manager.access.requirements import needs
from gearman_manager.dashboard.finished_pages import END_STATES, FINISHED, wanted_finished, wants_finished
from gearman_manager.dashboard.forms import address_of, done, whole_number
from gearman_manager.dashboard.job_search import chosen_handles
from gearman_manager.dashboard.rendering import page
from gearman_manager.errors import ManagerError, NotNow
from gearman_manager.finished.again import RunAgain
from gearman_manager.history.recording import say_action

#: Digits of a mark.
_MOST_DIGITS: Final = 18


def add_again_pages(routes: Blueprint, again: RunAgain) -> None:
    """The page with the number of all that match, and the forms."""

    @routes.get("/jobs/finished/all")
    @needs(Role.OPERATOR)
    def every_finished() -> ResponseReturnValue:
        chosen = _chosen(request.args)
        wanted, given = wanted_finished(chosen), request.args.get("mark", "")
        mark = int(given) if given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS else None
        look, now = again.look(wanted, mark), again.look(wanted)
        return page(
            "again.html",
            every=0,
            chosen=chosen,
            look=look,
            later=max(0, now.found - look.found),
            again=address_of("every_finished", {**chosen, "mark": str(now.mark)}),
            back=address_of("jobs_listed", chosen),
        )

    @routes.post("/jobs/finished/again")
    def run_again() -> ResponseReturnValue:
        handles = chosen_handles(request.form)
        say_action("finished again", " ".join(handles))
        if not handles:
            raise ManagerError("choose the jobs first, by the boxes in front of them")
        outcome = again.run(handles)
        if request.form.get("page_of") == "job" and outcome.handles:
            return done(url_for("dashboard.job", handle=outcome.handles[0]), "submitted")
        if len(handles) == 1 and outcome.problems:
            raise NotNow(outcome.problems[0])
        back = address_of("jobs_listed", {"state": FINISHED})
        return done(back, ("again-some" if outcome.left else "again") if outcome.handles else "again-none")

    @routes.post("/jobs/finished/all/again")
    def run_all_again() -> ResponseReturnValue:
        mark = whole_number("mark", "the place in the list", _MOST_DIGITS)
        wanted = wanted_finished(_chosen(request.form))
        begun = again.begin(wanted, mark, whole_number("expected", "how many they are"))
        return redirect(url_for("dashboard.change", name=begun.id), 303)


def _chosen(given: Mapping[str, str]) -> dict[str, str]:
    """The conditions of a query or a form; without a state, all that are over.

    Raises:
        ManagerError: finished jobs are not found by one of them.
    """
    chosen = wants_finished({**given, "state": given.get("state") or FINISHED})
    if chosen is None:
        raise ManagerError(f"state: one of {', '.join(END_STATES)} is expected")
    return chosen
