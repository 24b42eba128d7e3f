"""The commands `jobs finished` and `jobs attempts`: what is over, and what has become of one job."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import click

from gearman_manager.command.completion import functions
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.job_commands import Duration, jobs, json_option, limit_option, show_list
from gearman_manager.finished.outcomes import OUTCOMES


@jobs.command("finished", short_help="List finished jobs.")
@click.argument("function", required=False, shell_complete=functions)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those.")
@click.option("--tag", metavar="TEXT", help="Only those with this tag.")
@click.option("--unique", metavar="TEXT", help="Only those with this unique key.")
@click.option("--text", metavar="TEXT", help="Only those with this in their workload, error or traceback.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only those that ended within that time, as 1h.")
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
