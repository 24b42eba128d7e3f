"""Shows groups of failures to people: in a table on a terminal, or one with all its details."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from gearman_manager.command.status_view import wide_console
from gearman_manager.command.words import clock, printed
from gearman_process.values.durations import rough_duration

Row = dict[str, Any]
_JOBS: Final = 10


def show_groups(rows: Sequence[Row]) -> None:
    """Print groups, a line for each."""
    table = Table("id", "function", "exception", "place", "times", "24 h", "dead", "last", "error", box=None)
    table.columns[0].no_wrap = True  # users copy ids
    for row in rows:
        cells = (row["id"], row["function"], row["exception"], row["place"])
        numbers = (str(row["count"]), str(sum(row["hours"])), str(row["dead"]))
        last = _ago(row["last"]) + (" (muted)" if row["is_muted"] else "")
        error = row["error"].partition("\n")[0]
        table.add_row(*map(_cell, cells), *numbers, last, _cell(error))
    wide_console().print(table)


def show_group(row: Row) -> None:
    """Print all details of a group."""
    for name in ("id", "function", "exception", "place"):
        click.echo(f"{name}: {printed(row[name])}")
    if row["file"]:
        click.echo(f"last at: {printed(row['file'])}:{row['line']}")
    click.echo(f"first: {clock(row['first'])}")
    click.echo(f"last: {clock(row['last'])} ({_ago(row['last'])})")
    click.echo(f"times: {row['count']}, in the last 24 hours {sum(row['hours'][-24:])}")
    click.echo(f"dead jobs: {row['dead']}")
    if row["is_muted"]:
        until = "until it is unmuted" if row["muted_until"] is None else f"until {clock(row['muted_until'])}"
        click.echo(f"muted: by {printed(row['muted_by'] or 'somebody')}, {until}")
    jobs = row["jobs"][:_JOBS]
    if jobs:
        click.echo("\nlast jobs:")
    for job in jobs:
        click.echo(f"  {printed(job['handle'])} {_ago(job['at'])}{' (dead)' if job['is_dead'] else ''}")
    for name in ("error", "traceback"):
        if row[name]:
            click.echo(f"\n{name}:\n" + "\n".join(map(printed, row[name].splitlines())))


def _ago(at: float) -> str:
    return rough_duration(max(0.0, time.time() - at)) + " ago"


def _cell(text: str) -> Text:
    return Text(printed(text))  # rich would take a plain string's [brackets] for styles
