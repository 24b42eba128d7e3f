"""The commands `jobs finished`, `jobs again` and `jobs attempts`: what is over, run again, and told of one job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from gearman_manager.command.all_jobs import change_all, count, told
from gearman_manager.command.completion import functions
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.job_commands import (
    CHANGE_TIMEOUT_S,
    Duration,
    confirm,
    jobs,
    json_option,
    limit_option,
    show_list,
)
from gearman_manager.errors import ManagerError
from gearman_manager.finished.outcomes import OUTCOMES
from gearman_process.values.counting import counted


def _conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that finished jobs have to meet."""
    since = "Only those that ended within that time, as 1h."
    for option in (
        click.option("--since", type=Duration(), metavar="DURATION", help=since),
        click.option("--text", metavar="TEXT", help="Only those with this in their workload, error or traceback."),
        click.option("--unique", metavar="TEXT", help="Only those with this unique key."),
        click.option("--tag", metavar="TEXT", help="Only those with this tag."),
        click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those."),
    ):
        command = option(command)
    return command


@jobs.command("finished", short_help="List finished jobs.")
@click.argument("function", required=False, shell_complete=functions)
@_conditions
@click.option("--attempts", is_flag=True, help="Also attempts that others followed.")
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_finished(
    context: click.Context, /, since: float | None, attempts: bool, limit: int, as_json: bool, **texts: str | None
) -> None:
    """List the finished jobs that the manager has kept, of all functions or of FUNCTION, the newest first."""
    conditions = {
        **texts,
        "since": None if since is None else time.time() - since,
        "attempts": "" if attempts else None,
    }
    from gearman_manager.command.job_view import show_finished

    show_list(context, "jobs/finished", conditions, limit, None if as_json else show_finished)


@jobs.command("again", short_help="Run finished jobs again.")
@click.argument("handles", metavar="[HANDLE...]", nargs=-1)
@click.option("--function", metavar="NAME", help="Those of this function.", shell_complete=functions)
@_conditions
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
@mistakes_are_messages
def run_again(
    context: click.Context, /, handles: tuple[str, ...], everything: bool, yes: bool, since: float | None, **texts: Any
) -> None:
    """Run finished jobs again, by HANDLE or by conditions: as new background jobs with the same function, workload,
    priority and unique key. Asks first where conditions choose. Left are those that are not over, of which not all of
    the workload is kept, or something is private, and those whose unique key still belongs to a job that has ended."""
    given = {**texts, "since": None if since is None else time.time() - since}
    chosen = {name: value for name, value in given.items() if value is not None}
    if bool(handles) + bool(chosen) + everything != 1:
        raise click.UsageError("name handles, or choose by --function, --outcome, --text and so on, or --all")
    if handles:
        body = {"handles": list(handles)}
        answer = ask(context, "POST", "/jobs/finished/again", body, timeout_s=CHANGE_TIMEOUT_S)
        for handle in answer["handles"]:
            click.echo(handle)
        if answer["left"]:
            raise ManagerError("; ".join([f"{answer['left']} of {len(handles)} left", *answer["problems"]]))
        return
    found = count(context, "jobs/finished", chosen)
    if found["fit"] and not yes:
        confirm(f"Run {counted(found['fit'], 'finished job')} again?")
    told(change_all(context, "/jobs/finished/all/again", chosen, found, found["count"]), "run again")


@jobs.command("attempts", short_help="Show what has become of a job.")
@click.argument("handle")
@json_option
@click.pass_context
@mistakes_are_messages
def show_attempts(context: click.Context, handle: str, as_json: bool) -> None:
    """Show how the attempts of the job HANDLE ended, also if it is over: when, where and why, with the beginning of its
    workload and result."""
    attempts = ask(context, "GET", f"/jobs/attempts/{quote(handle, safe='')}")["attempts"]
    if as_json:
        click.echo(json.dumps(attempts, indent=2))
        return
    from gearman_manager.command.job_view import show_one

    for at, attempt in enumerate(attempts):
        if at:
            click.echo()
        show_one(attempt)
