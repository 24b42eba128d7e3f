"""Changes of all jobs that match, for the commands: how many there are, the change itself, and how far it has come."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import click

from gearman_manager.command.context import ask, folder_of_running
from gearman_manager.control.change_words import LEFT
from gearman_manager.errors import ManagerError

#: Counting very many jobs takes long, and so does what the manager waits for before it begins.
COUNT_TIMEOUT_S: Final = 300.0

Answer = dict[str, Any]


def count(context: click.Context, family: str, choice: Mapping[str, Any]) -> Answer:
    """How many `jobs`, by state too, `dead` letters or `jobs/finished` there are, and the moment, or the mark, at which
    that was so.

    Raises:
        ManagerError: some job servers can't be asked: a change would reach only some of the jobs.
    """
    query = urlencode({name: value for name, value in choice.items() if name != "all"})
    answer: Answer = ask(context, "GET", f"/{family}/count?{query}", timeout_s=COUNT_TIMEOUT_S)
    if answer.get("missing"):
        raise ManagerError("; ".join(answer["missing"]))
    return answer


def change_all(context: click.Context, path: str, choice: Mapping[str, Any], counted: Answer, expected: int) -> Answer:
    """Change those that were there when they were counted; shows how far that has come, and returns its last report.

    Raises:
        ManagerError: it could not be done, or not everywhere.
    """
    body = {name: value for name, value in choice.items() if name != "all"}
    body |= {name: counted[name] for name in ("seen_at", "mark") if name in counted}
    report: Answer = ask(context, "POST", path, body | {"expected": expected})
    return follow_change(context, report)


def follow_change(context: click.Context, report: Answer) -> Answer:
    """Show how far a change has come that was begun; returns its last report.

    Raises:
        ManagerError: the manager ended before.
    """
    from gearman_manager.command.control_client import stream

    shown = False
    for line in stream(folder_of_running(context).socket, f"/changes/{report['id']}?follow=1"):
        report = json.loads(line)
        if sys.stderr.isatty() and not report["over"]:
            click.echo(f"\r{report['done']:,} of {report['expected']:,}", err=True, nl=False)
            shown = True
    if shown:
        click.echo("\r\033[K", err=True, nl=False)
    if not report["over"]:
        raise ManagerError(f"the manager ended after {report['done']} of {report['expected']}")
    return report


def told(report: Answer, done: str) -> None:
    """Say what has become of the jobs.

    Raises:
        ManagerError: it could not be done everywhere.
    """
    words = [f"{report['done']} {done}"]
    words += [f"{report['gone']} gone meanwhile"] if report["gone"] else []
    words += [f"{report['left']} left: {LEFT[report['what'].split()[-1]]}"] if report["left"] else []
    if report["problems"]:
        raise ManagerError("; ".join([", ".join(words), *report["problems"]]))
    click.echo(", ".join(words))
