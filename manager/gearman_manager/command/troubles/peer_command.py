"""The command `peers`: this manager and those that it knows."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from gearman_manager.command.context import ask, mistakes_are_messages

Row = dict[str, Any]


@click.command(short_help="Show the managers that this one knows.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@mistakes_are_messages
def peers(context: click.Context, as_json: bool) -> None:
    """Show this manager and those of `control.peers`: whether each answers, how it is, and what it has to do.

    Of one that does not answer it is what it said last.
    """
    managers = ask(context, "GET", "/peers")["managers"]
    if as_json:
        click.echo(json.dumps(managers, indent=2))
        return
    _show(managers)
    if len(managers) == 1:
        click.echo("no other manager is known: the configuration's key control.peers names them", err=True)


def _show(managers: list[Row]) -> None:
    from rich.table import Table

    from gearman_manager.command.status_view import wide_console

    table = Table("manager", "state", "pools", "workers", "busy", "queued", "running", "health", box=None)
    for row in managers:
        summary = row["summary"]
        names = ("pools", "workers", "busy", "queued", "running")
        numbers = [str(summary[name]) if summary else "-" for name in names]
        table.add_row(_name(row), _state(row), *numbers, _cell(row["error"] or (summary["text"] if summary else "")))
    wide_console().print(table)


def _name(row: Row) -> Any:
    called = row["name"] or (row["summary"]["name"] if row["summary"] else "")
    return _cell(f"{called} {row['url'] or '(this one)'}".lstrip())


def _state(row: Row) -> str:
    from gearman_process.values.durations import rough_duration

    if row["up"] is None:
        return "not asked yet"
    if row["up"]:
        return "up"
    return f"down for {rough_duration(max(0.0, time.time() - row['since']))}"


def _cell(text: str) -> Any:
    from rich.text import Text

    from gearman_manager.command.words import printed

    return Text(printed(text))  # another manager may write anything
