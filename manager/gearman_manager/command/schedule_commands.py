"""The command `schedules`, with `trigger`, `pause` and `resume`: jobs that the job servers submit by the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click

from gearman_manager.command.context import ask, mistakes_are_messages


@click.group("schedules", invoke_without_command=True, short_help="What runs by the clock, and when next.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@mistakes_are_messages
def schedules(context: click.Context, as_json: bool) -> None:
    """List the jobs that are submitted by the clock: the next run of each, and the last one with how it ended.

    They are configured under `schedules:`.
    """
    if context.invoked_subcommand is not None:
        return
    rows = list(_rows(context))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _show(rows)
    else:
        click.echo("there are no schedules: the configuration's key schedules: makes some", err=True)


@schedules.command(short_help="Submit a schedule's job now.")
@click.argument("name")
@click.pass_context
@mistakes_are_messages
def trigger(context: click.Context, name: str) -> None:
    """Submit the job of the schedule NAME now. Its next run comes at its time all the same."""
    answer = ask(context, "POST", "/schedules/trigger", {"name": name})
    click.echo(answer["handle"])


@schedules.command(short_help="Have no run of a schedule due until `resume`.")
@click.argument("name")
@click.pass_context
@mistakes_are_messages
def pause(context: click.Context, name: str) -> None:
    """Have no run of the schedule NAME due from now on, also after a restart if the job server's store is durable. What
    is due meanwhile is not made up for."""
    ask(context, "POST", "/schedules/pause", {"name": name})
    click.echo(f"schedule {name} is paused")


@schedules.command(short_help="Have the runs of a paused schedule due again.")
@click.argument("name")
@click.pass_context
@mistakes_are_messages
def resume(context: click.Context, name: str) -> None:
    """Have the runs of the schedule NAME due again."""
    ask(context, "POST", "/schedules/resume", {"name": name})
    click.echo(f"schedule {name} goes on")


def _rows(context: click.Context) -> Iterator[dict[str, Any]]:
    """All schedules, page by page."""
    query: dict[str, Any] = {"limit": 1000}
    while True:
        part = ask(context, "GET", f"/schedules?{urlencode(query)}")
        yield from part["schedules"]
        if part["next"] is None:
            return
        query["cursor"] = part["next"]


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from gearman_manager.command.status_view import wide_console
    from gearman_process.values.durations import rough_duration

    table = Table("schedule", "function", "next", "in", "last", "ended", "when", "missed", "unique", box=None)
    for column in (table.columns[2], table.columns[4]):
        column.min_width = len("2030-01-31")  # on a narrow terminal the time stands below the date
    now = time.time()
    for row in rows:
        last = "never" if row["last_run"] is None else _clock(row["last_run"])
        due = "paused" if row["paused_at"] is not None else rough_duration(max(0.0, row["next"] - now))
        # Of a run that waits or runs still nothing is known.
        ended = next((run["outcome"] for run in row["runs"][:1] if run["handle"] == row["last_handle"]), "")
        cells = (row["schedule"], row["function"], _clock(row["next"]), due, last, ended, row["timing"], row["missed"])
        table.add_row(*map(Text, cells), Text(row["unique"]))
    wide_console().print(table)


def _clock(unix_time: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_time))
