"""Jobs and dead letters: lists in pages, one with all that the job server tells of it, and what can be done to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from gearman_manager.api.pages import cursor_of, position_of
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.dashboard.finished_pages import END_STATES, FinishedPages, wants_finished
from gearman_manager.dashboard.forms import address_of, done
from gearman_manager.dashboard.found_jobs import find
from gearman_manager.dashboard.job_search import STATES, WITHIN_S, asked, chosen_handles, conditions
from gearman_manager.dashboard.rendering import SELDOM_S, page
from gearman_manager.errors import ManagerError, NotFound
from gearman_manager.history.recording import say_action
from gearman_manager.logs.recent_log import RecentLog, Subject

ROWS: Final = 50
MOST_LINES: Final = 200
#: The fields that have a place of their own on a job's page.
_APART: Final = frozenset(
    {
        *("handle", "function", "state", "progress", "error", "traceback", "workload", "workload_base64", "bytes"),
        *("data", "options", "tags", "headers", "is_redacted"),
    }
)
_MOMENTS: Final = frozenset(
    {"submitted", "since", "not_before", "first_attempt", "last_attempt", "died", "expires", "last_run"}
)
#: What the fields are called that have no plain name.
_LABELS: Final = {"losses": "lost workers", "died": "failed for good"}
_NOTICES: Final = {"cancel": "cancelled", "stop": "stopped", "retry": "retried", "drop": "dropped"}


def add_job_pages(routes: Blueprint, jobs: ServerJobs, log: RecentLog, finished: FinishedPages) -> None:
    """The pages."""

    @routes.app_context_processor
    def of_filters() -> dict[str, object]:
        return {"job_states": STATES, "end_states": END_STATES, "end_times": WITHIN_S}

    def one(family: str, handle: str) -> ResponseReturnValue:
        row, lines = jobs.show(family, handle), log.lines(Subject(job=handle))[-MOST_LINES:]
        return _one(family, row, lines, finished.timeline(handle))

    @routes.get("/jobs")
    def jobs_listed() -> ResponseReturnValue:
        handle = request.args.get("handle", "").strip()
        if handle:
            return _go_to(url_for("dashboard.job", handle=handle))
        chosen = wants_finished(request.args)
        return _list(jobs, "jobs", finished) if chosen is None else finished.listed(chosen)

    @routes.get("/dead")
    def dead_listed() -> ResponseReturnValue:
        return _list(jobs, "dead", None)

    @routes.get("/jobs/<path:handle>")
    def job(handle: str) -> ResponseReturnValue:
        for family in ("jobs", "dead"):
            with suppress(NotFound):
                return one(family, handle)
        lines = log.lines(Subject(job=handle))[-MOST_LINES:]
        over = finished.job(handle, lines)
        if over is not None:
            return over
        status = 200 if lines or _was_known() else 404
        return page("job_gone.html", handle=handle, lines=lines, status=status)

    @routes.get("/dead/<path:handle>")
    def dead(handle: str) -> ResponseReturnValue:
        return one("dead", handle)


def add_job_forms(routes: Blueprint, jobs: ServerJobs) -> None:
    """The forms. They name the jobs that were there when one looked, one or several, and concern no others."""
    changes: Mapping[str, Callable[[Sequence[str]], int]] = {
        "cancel": jobs.cancel,
        "stop": jobs.stop,
        "retry": lambda handles: jobs.change_each("dead retry", handles),
        "drop": lambda handles: jobs.change_each("dead drop", handles),
    }

    @routes.post("/jobs/<any(cancel, stop):what>")
    def change_jobs(what: str) -> ResponseReturnValue:
        return _change("jobs", what)

    @routes.post("/dead/<any(retry, drop):what>")
    def change_dead(what: str) -> ResponseReturnValue:
        return _change("dead", what)

    def _change(family: str, what: str) -> ResponseReturnValue:
        handles = chosen_handles(request.form)
        say_action(f"{family} {what}", " ".join(handles))
        if not handles:
            raise ManagerError("choose the jobs first, by the boxes in front of them")
        changed = changes[what](handles)
        is_one = request.form.get("page_of") == "job"
        back = url_for("dashboard.job", handle=handles[0]) if is_one else url_for(f"dashboard.{family}_listed")
        if is_one and what == "drop":
            back = url_for("dashboard.dead_listed")
        return done(back, _NOTICES[what] if changed else "none")


def _list(jobs: ServerJobs, family: str, finished: FinishedPages | None) -> ResponseReturnValue:
    chosen = conditions(family, request.args)
    position = position_of(request.args.get("cursor") or None, "server", "after")
    found = find(jobs, family, {"limit": str(ROWS), **asked(chosen, time.time()), **position})
    cursor = cursor_of(found["next"])
    return page(
        f"{family}.html",
        every=0 if "text" in chosen else SELDOM_S,  # a search reads much
        rows=found["jobs"],
        finished=finished.few(chosen) if finished is not None else None,
        missing=found["missing"],
        looked=(found["looked"], found["of"]) if "looked" in found else None,
        chosen=chosen,
        is_first="cursor" not in request.args,
        next=cursor and address_of(f"{family}_listed", chosen | {"cursor": cursor}),
        first=address_of(f"{family}_listed", chosen),
        every_one=address_of("every", chosen | {"seen": f"{time.time():.6f}"}, family=family),
    )


def _one(
    family: str, row: Mapping[str, Any], lines: Sequence[str], attempts: Sequence[Mapping[str, Any]]
) -> ResponseReturnValue:
    facts = {name: value for name, value in row.items() if name not in _APART and value not in (None, "", [], {})}
    done_of, _, whole = str(row.get("progress") or "").partition("/")
    is_known = done_of.isascii() and done_of.isdecimal() and whole.isascii() and whole.isdecimal() and int(whole or 0)
    return page(
        "job.html",
        family=family,
        job=row,
        lines=lines,
        attempts=attempts,
        facts=facts,
        moments=_MOMENTS,
        labels=_LABELS,
        progress=(int(done_of[:15]), int(whole[:15])) if is_known else None,
    )


def _was_known() -> bool:
    """Whether one comes from a form of ours, or has the page open: then it is no mistake that there is no such job."""
    return "said" in request.args or "X-Part" in request.headers


def _go_to(address: str) -> Response:
    return Response(status=303, headers={"Location": address})
