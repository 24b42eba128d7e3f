"""The functions: what waits and runs, by which rules, from which file; modules that can't be loaded; and a form that
runs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.code.generations import Generations
from gearman_manager.config import Problem, ResolvedFunction
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.status import StatusReport
from gearman_manager.control.submissions import Submissions
from gearman_manager.dashboard.chart_parts import ChartParts
from gearman_manager.dashboard.forms import done
from gearman_manager.dashboard.found_jobs import longest_wait_s
from gearman_manager.dashboard.kept_workloads import kept_workload
from gearman_manager.dashboard.rendering import page
from gearman_manager.dashboard.source_lines import lines_around
from gearman_manager.dashboard.task_fields import fields_of, workload_of
from gearman_manager.dashboard.words import duration
from gearman_manager.errors import ManagerError, NotFound
from gearman_manager.finished.keeper import Keeper
from gearman_manager.history.history_file import HistoryError
from gearman_manager.history.recording import say_action
from gearman_manager.series.columns import NO_TIMES, Times
from gearman_manager.series.reports import Reports

#: Bytes of a workload that a form may bring: for more there are clients.
MOST_WORKLOAD_BYTES: Final = 256 * 1024
#: Functions, and broken modules, on one page.
MOST_FUNCTIONS: Final = 500
MOST_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True)
class FunctionSources:
    """What is shown of functions, and what runs them."""

    status: StatusReport
    generations: Generations
    reports: Reports
    jobs: ServerJobs
    submissions: Submissions
    keeper: Keeper


def add_function_pages(routes: Blueprint, sources: FunctionSources, charts: ChartParts) -> None:
    """The pages, and the forms on them."""
    status, generations = sources.status, sources.generations
    jobs, submissions = sources.jobs, sources.submissions

    @routes.get("/functions")
    def functions() -> ResponseReturnValue:
        known = status.functions()
        wanted = request.args.get("name", "").strip().lower()
        found = {name: each for name, each in known.items() if wanted in name.lower()}
        return page(
            "functions.html",
            events=True,
            functions=dict(list(found.items())[:MOST_FUNCTIONS]),
            times=_times(sources.reports),
            no_times=NO_TIMES,
            found=len(found),
            known=len(known),
            wanted=wanted,
            problems=[_problem(each, _folders(generations)) for each in generations.errors[:MOST_PROBLEMS]],
        )

    @routes.get("/functions/<path:name>")
    def function(name: str) -> ResponseReturnValue:
        settings, parameters = _found(generations, name)
        now = status.functions()[name]
        like = kept_workload(jobs, sources.keeper, request.args.get("like", ""))
        return page(
            "function.html",
            name=name,
            function=now,
            oldest_s=longest_wait_s(jobs, name) if now["queued"] else None,
            line=settings.line,
            parameters=parameters,
            policies=dict(_policies(settings)),
            fields=fields_of(parameters),
            like=like,
            **charts.on_page("function", name),
        )

    @routes.post("/functions/<path:name>/pause")
    def pause_function(name: str) -> ResponseReturnValue:
        jobs.pause(name)
        return done(url_for("dashboard.function", name=name), "function-paused")

    @routes.post("/functions/<path:name>/resume")
    def resume_function(name: str) -> ResponseReturnValue:
        jobs.resume(name)
        return done(url_for("dashboard.function", name=name), "function-resumed")

    @routes.post("/functions/<path:name>/run")
    def run(name: str) -> ResponseReturnValue:
        _, parameters = _found(generations, name)
        say_action("functions run", name)
        workload = _workload(parameters)
        say_action("functions run", name, f"{len(workload)} bytes")
        if len(workload) > MOST_WORKLOAD_BYTES:
            raise ManagerError(f"a workload from this form may have {MOST_WORKLOAD_BYTES} bytes")
        return done(url_for("dashboard.job", handle=submissions.submit(name, workload)), "submitted")


def _times(reports: Reports) -> Mapping[str, Times]:
    """How long the jobs of functions have waited and run; without the history nothing is known of that."""
    try:
        return reports.function_times()
    except HistoryError:
        return {}


def _workload(parameters: str) -> bytes:
    """What the form has brought: the fields for these parameters, or the workload as it is."""
    if request.form.get("with") == "fields":
        return workload_of(fields_of(parameters), request.form)
    return request.form.get("workload", "").replace("\r\n", "\n").encode(errors="replace")


def _found(generations: Generations, name: str) -> tuple[ResolvedFunction, str]:
    """A function, and its parameters as its callers know them."""
    current = generations.current
    settings = None if current is None else current.layout.functions.get(name)
    if current is None or settings is None:
        raise NotFound(f"there is no function {name}: a reload may have removed it, or its module can't be loaded")
    parameters = (each.parameters for each in current.code.found if each.name == settings.module_name)
    return settings, next(parameters, "")


def _folders(generations: Generations) -> tuple[str, ...]:
    return () if generations.current is None else tuple(generations.current.config.workers_dir)


def _problem(problem: Problem, folders: tuple[str, ...]) -> dict[str, Any]:
    lines = lines_around(problem.file, problem.line, folders)
    return {
        "file": problem.file,
        "line": problem.line,
        "message": problem.text,
        "lines": lines,
        "modules": problem.modules,
    }


def _policies(function: ResolvedFunction) -> Iterator[tuple[str, str]]:
    """The rules for a function's jobs, in the words of the configuration; those that say nothing are left out."""
    yield "timeout", "none" if function.timeout_s is None else duration(function.timeout_s)
    yield "retries", str(function.retries)
    yield "crash_retries", str(function.crash_retries)
    if function.retries:
        yield "backoff", f"{duration(function.backoff_s)} up to {duration(function.max_backoff_s)}"
    shown: tuple[tuple[str, Any, Callable[[Any], str]], ...] = (
        ("keep_result", function.keep_result_s, duration),
        ("max_queue", function.max_queue, str),
        ("max_running", function.max_running, str),
        ("rate", function.rate, str),
        ("batch", function.batch, str),
        ("per_key.max_running", function.key_max_running, str),
        ("per_key.rate", function.key_rate, str),
    )
    for key, value, words in shown:
        if value:
            yield key, words(value)
    if function.brake is not None:
        yield "brake", f"{function.brake.failures}, holds for {duration(function.brake.hold)}"
    if function.is_fair:
        yield "fair", "yes"
    privacy = function.privacy
    if privacy.redact:
        yield "redact", ", ".join(privacy.redact)
    if not privacy.shows_workloads:
        yield "show_workloads", "no"
    if privacy.retention_s is not None:
        yield "retention", duration(privacy.retention_s)
