"""The commands `jobs finished` and `jobs attempts`: what is over, and what has become of one job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from gearman_manager.command.completion import functions
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.job_commands import Duration, jobs

_PAGE_LINES: Final = 1000
#: The outcomes in `finished/attempt`, which a command needs not load.
OUTCOMES: Final = (
    *("complete", "failed", "exception", "timeout", "lost", "stopped", "cancelled", "expired", "dropped"),
    *("returned", "throttled"),
)


@jobs.command("finished", short_help="List finished jobs.")
@click.argument("function", required=False, shell_complete=functions)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those.")
@click.option("--tag", metavar="TEXT", help="Only those with this tag.")
@click.option("--unique", metavar="TEXT", help="Only those with this unique key.")
@click.option("--text", metavar="TEXT", help="Only those with this in their workload, error or traceback.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only those that ended within that time, as 1h.")
@click.option("--attempts", is_flag=True, help="Also attempts that others followed.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Lines at most.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@mistakes_are_messages
def list_finished(
    context: click.Context, /, since: float | None, attempts: bool, limit: int, as_json: bool, **texts: str | None
) -> None:
    """List the finished jobs that the manager has kept, of all functions or of FUNCTION, the newest first."""
    conditions: dict[str, Any] = {name: value for name, value in texts.items() if value is not None}
    if since is not None:
        conditions["since"] = time.time() - since
    if attempts:
        conditions["attempts"] = ""
    rows, goes_on = _rows(context, conditions, limit)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from gearman_manager.command.job_view import show_finished

    show_finished(rows)
    if goes_on:
        click.echo(f"there may be more: --limit {limit} was reached", err=True)


@jobs.command("attempts", short_help="Show what has become of a job.")
@click.argument("handle")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
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


def _rows(context: click.Context, conditions: Mapping[str, Any], limit: int) -> tuple[Sequence[dict[str, Any]], bool]:
    """The finished jobs up to the limit, and whether there may be more."""
    rows: list[dict[str, Any]] = []
    position: dict[str, str] = {}
    while len(rows) < limit:
        query = {**conditions, **position, "limit": min(limit - len(rows), _PAGE_LINES)}
        answer = ask(context, "GET", f"/jobs/finished?{urlencode(query)}")
        rows += answer["jobs"]
        if answer["next"] is None:
            return rows, False
        position = {"cursor": answer["next"]}
    return rows, True
