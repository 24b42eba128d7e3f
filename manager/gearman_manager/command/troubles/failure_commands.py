"""The command `failures`: failed attempts in groups, by function, exception and place in the code."""

from __future__ import annotations

import json
import time
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from gearman_manager.command.all_jobs import follow_change, told
from gearman_manager.command.completion import failure_groups, functions
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.job_commands import Duration, confirm, json_option, limit_option
from gearman_manager.command.words import clock
from gearman_process.values.counting import counted

_PAGE_LINES: Final = 1000
_group = click.argument("group", metavar="ID", shell_complete=failure_groups)


@click.group(short_help="Failures in groups: list, show, retry, drop, mute, unmute.")
def failures() -> None:
    """Look at failed attempts in groups, by function, exception and place in the code, and try their jobs again, forget
    them, or hear no more of them."""


@failures.command("list", short_help="List groups of failures.")
@click.argument("function", required=False, shell_complete=functions)
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_groups(context: click.Context, function: str | None, limit: int, as_json: bool) -> None:
    """List the groups of failures, of all functions or of FUNCTION: the one that failed last comes first."""
    rows, there_may_be_more = _rows(context, function, limit)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from gearman_manager.command.troubles.failure_view import show_groups

    show_groups(rows)
    if there_may_be_more:
        click.echo(f"there may be more: --limit {limit} was reached", err=True)


@failures.command("show", short_help="Show a group of failures.")
@_group
@json_option
@click.pass_context
@mistakes_are_messages
def show_group(context: click.Context, group: str, as_json: bool) -> None:
    """Show all that is known of the group ID: when it began, how often it failed, the last error and its traceback, the
    last jobs."""
    row = ask(context, "GET", _path(group))
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    from gearman_manager.command.troubles.failure_view import show_group as show

    show(row)


@failures.command(short_help="Try the dead jobs of a group again.")
@_group
@click.pass_context
@mistakes_are_messages
def retry(context: click.Context, group: str) -> None:
    """Queue the dead jobs of the group ID again, those that are there now; their attempts are counted anew."""
    _change(context, group, "retry", ask(context, "GET", _path(group)), "queued again")


@failures.command(short_help="Forget the dead jobs of a group.")
@_group
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
@mistakes_are_messages
def drop(context: click.Context, group: str, yes: bool) -> None:
    """Forget the dead jobs of the group ID, those that are there now. Asks first; what comes later stays."""
    row = ask(context, "GET", _path(group))
    if row["dead"] and not yes:
        they = "It" if row["dead"] == 1 else "They"
        confirm(f"Forget {counted(row['dead'], 'dead job')} of {row['function']}? {they} can't be tried again then")
    _change(context, group, "drop", row, "dropped")


@failures.command(short_help="Have a group cause no alerts.")
@_group
@click.option("--for", "for_s", type=Duration(), metavar="DURATION", help="For so long, as 2h; else until `unmute`.")
@click.pass_context
@mistakes_are_messages
def mute(context: click.Context, group: str, for_s: float | None) -> None:
    """Have the group ID cause no alerts, for some time or until it is unmuted. It is still counted."""
    body = {} if for_s is None else {"until": time.time() + for_s}
    until = ask(context, "POST", f"{_path(group)}/mute", body)["muted_until"]
    click.echo(f"{group} is muted" + ("" if until is None else f" until {clock(until)}"))


@failures.command(short_help="Have a muted group cause alerts again.")
@_group
@click.pass_context
@mistakes_are_messages
def unmute(context: click.Context, group: str) -> None:
    """Have the group ID cause alerts again."""
    ask(context, "POST", f"{_path(group)}/unmute")
    click.echo(f"{group} is no longer muted")


def _path(group: str) -> str:
    return f"/failures/{quote(group, safe='')}"


def _rows(context: click.Context, function: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The groups up to the limit, and whether there may be more."""
    rows: list[dict[str, Any]] = []
    chosen: dict[str, str] = {} if function is None else {"function": function}
    while len(rows) < limit:
        query = urlencode({**chosen, "limit": min(limit - len(rows), _PAGE_LINES)})
        answer = ask(context, "GET", f"/failures?{query}")
        rows += answer["groups"]
        if answer["next"] is None:
            return rows, False
        chosen["cursor"] = answer["next"]
    return rows, True


def _change(context: click.Context, group: str, what: str, row: dict[str, Any], done: str) -> None:
    """Change the dead jobs that the group had when it was looked at."""
    body = {"mark": row["mark"], "expected": row["dead"]}
    told(follow_change(context, ask(context, "POST", f"{_path(group)}/{what}", body)), done)
