"""Joins the pages to one blueprint, with what all of them share: words for templates, errors as pages, the frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gearman_manager.code.generations import Generations
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.control.problems import problem, status_of
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.status import StatusReport
from gearman_manager.control.submissions import Submissions
from gearman_manager.dashboard import texts, words
from gearman_manager.dashboard.again_pages import add_again_pages
from gearman_manager.dashboard.bulk_pages import add_bulk_forms, add_bulk_pages
from gearman_manager.dashboard.chart_parts import ChartParts, add_charts
from gearman_manager.dashboard.charts import number, time_span
from gearman_manager.dashboard.failure_pages import add_failure_forms, add_failure_pages
from gearman_manager.dashboard.finished_pages import FinishedPages
from gearman_manager.dashboard.forms import notice
from gearman_manager.dashboard.function_pages import FunctionSources, add_function_pages
from gearman_manager.dashboard.job_pages import add_job_forms, add_job_pages
from gearman_manager.dashboard.other_pages import add_history, add_schedules, add_servers
from gearman_manager.dashboard.overview_pages import add_overview
from gearman_manager.dashboard.pool_pages import PoolSources, add_pool_pages, add_worker_forms
from gearman_manager.dashboard.rendering import page
from gearman_manager.dashboard.static_files import add_static_files, static_address
from gearman_manager.errors import ManagerError
from gearman_manager.failures.group_changes import GroupChanges
from gearman_manager.failures.groups import FailureGroups
from gearman_manager.finished.again import RunAgain
from gearman_manager.finished.collector import Collector
from gearman_manager.finished.keeper import Keeper
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.recording import say_outcome
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.peers.watch import Peers
from gearman_manager.pools.workforce import Workforce
from gearman_manager.privacy import Privacy
from gearman_manager.series.reports import Reports

#: Only with peers.
PEERS: Final[str] = "/peers"
#: The pages in the navigation: where they are, and what they are called.
PAGES: Final[tuple[tuple[str, str], ...]] = (
    ("/", "Overview"),
    ("/functions", "Functions"),
    ("/jobs", "Jobs"),
    ("/dead", "Failed jobs"),
    ("/failures", "Failures"),
    ("/schedules", "Schedules"),
    ("/servers", "Servers"),
    (PEERS, "Managers"),
    ("/history", "History"),
)
_API: Final = "/api/"


class Manager(Protocol):
    """The supervisor as the pages see it. Its methods note the wish and return at once."""

    def reload(self) -> None:
        """Load configuration and code anew."""

    def drain(self, within_s: float | None) -> None:
        """Begin no job from now on, finish the running ones, and end."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that the pages show and steer."""

    name: str  #: the manager's, towards job servers
    overview: Callable[[], dict[str, Any]]
    manager: Manager
    changes: OperatorChanges
    explanations: Explanations
    status: StatusReport
    jobs: ServerJobs
    keeper: Keeper
    finished: Collector
    every: AllThatMatch
    again: RunAgain
    failures: FailureGroups
    group_changes: GroupChanges
    submissions: Submissions
    log: RecentLog
    actions: ActionLog
    generations: Generations
    workforce: Workforce
    reports: Reports
    privacy: Privacy
    server_facts: Callable[[], Mapping[str, Mapping[str, Any]]]
    peers: Peers


def dashboard_routes(sources: Sources) -> Blueprint:
    """The routes of all pages."""
    routes = Blueprint("dashboard", __name__, template_folder="templates")
    add_static_files(routes)
    charts = ChartParts(sources.reports)
    add_charts(routes, charts)
    add_overview(routes, sources.overview, charts, sources.changes, sources.manager)
    of_pools = PoolSources(sources.overview, sources.explanations, sources.generations, sources.workforce, sources.log)
    add_pool_pages(routes, of_pools, charts)
    add_worker_forms(routes, sources.changes, sources.jobs)
    of_functions = FunctionSources(
        sources.status, sources.generations, sources.reports, sources.jobs, sources.submissions, sources.keeper
    )
    add_function_pages(routes, of_functions, charts)
    finished = FinishedPages(sources.keeper, sources.finished)
    add_job_pages(routes, sources.jobs, sources.log, finished)
    add_job_forms(routes, sources.jobs)
    add_again_pages(routes, sources.again)
    add_bulk_pages(routes, sources.every)
    add_bulk_forms(routes, sources.every)
    add_failure_pages(routes, sources.failures)
    add_failure_forms(routes, sources.group_changes)
    add_schedules(routes, sources.jobs, sources.keeper)
    add_servers(routes, sources.overview, sources.status, sources.server_facts, sources.peers)
    add_history(routes, sources.actions)
    _add_words(routes, sources.name, sources.peers)
    _add_errors(routes, sources.privacy)
    return routes


def _add_words(routes: Blueprint, name: str, peers: Peers) -> None:
    """What every template can use. The filters escape, or are plain text that Jinja escapes."""
    filters: dict[str, Callable[..., object]] = {
        "shown": texts.shown,
        "line": texts.line,
        "block": texts.block,
        "plain": texts.plain,
        "log": texts.log,
        "counted": words.counted,
        "number": number,
        "size": words.size,
        "time_span": time_span,
        "percent": words.percent,
        "duration": words.duration,
        "moment": words.moment,
    }
    for word, made in filters.items():
        routes.add_app_template_filter(made, word)

    @routes.app_context_processor
    def of_frame() -> dict[str, object]:
        root = request.root_path.rstrip("/")
        return {
            "root": root,
            "static": partial(static_address, root),
            "pages": [each for each in PAGES if each[0] != PEERS or peers.are_any],
            "manager_name": name,
            "notice": notice(),
        }


def _add_errors(routes: Blueprint, privacy: Privacy) -> None:
    """Refusals as pages: those of our routes, and those of addresses that there are not, for browsers. They may repeat
    what a form has brought."""

    @routes.errorhandler(ManagerError)
    def refused(error: ManagerError) -> ResponseReturnValue:
        reason = privacy.of_all.text(str(error))
        say_outcome(reason)
        return _error_page(status_of(error), reason)

    @routes.errorhandler(HTTPException)
    def impossible(error: HTTPException) -> ResponseReturnValue:
        reason = "The manager's log has the reason." if error.code == 500 else error.description or error.name
        return _error_page(error.code or 500, reason)

    @routes.app_errorhandler(NotFound)
    @routes.app_errorhandler(MethodNotAllowed)
    def unknown(error: HTTPException) -> ResponseReturnValue:
        code = error.code or 404
        if request.path.startswith(_API) or "text/html" not in request.headers.get("Accept", ""):
            answer = problem(code, f"{request.method} {request.path}: {code} {error.name}")
        else:
            answer = _error_page(code, "There is no such page.")
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["Allow"] = ", ".join(error.valid_methods)
        return answer


def _error_page(status: int, reason: str) -> Response:
    return page("error.html", status=status, every=0, code=status, reason=reason)
