"""The command `explain`: why a pool has as many workers as it has."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from gearman_manager.command.completion import pools
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.words import clock
from gearman_process.values.escaping import escape_text

Report = dict[str, Any]


@click.command(short_help="Say why a pool has so many workers.")
@click.argument("pool", shell_complete=pools)
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="So many decisions at most.")
@click.option("--json", "as_json", is_flag=True, help="All that are kept, as JSON, for other programs.")
@click.pass_context
@mistakes_are_messages
def explain(context: click.Context, pool: str, count: int, as_json: bool) -> None:
    """Say why POOL has as many workers as it has: the last decisions of the scaler with the numbers behind them.

    A decision holds until another size or another limit follows. The manager keeps the last 50 of each pool.

    \b
    Example:
      gearman-manager explain email
    """
    report = ask(context, "GET", f"/pools/{quote(pool, safe='')}/decisions")
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    for line in explanation(report, count):
        click.echo(escape_text(line))


def explanation(report: Report, count: int) -> list[str]:
    """The report in lines for people, with the last `count` decisions."""
    now = report["now"]
    if now is None:
        return [f"{report['pool']}: no decision yet"]
    lines = []
    for decision in report["decisions"][-count:]:
        when = clock(decision["since"])
        when = f"since {when}" if decision["until"] is None else f"{when} to {clock(decision['until'])}"
        times = f", decided {decision['times']} times" if decision["times"] > 1 else ""
        lines += [when + times, *_told(decision), ""]
    return [*lines, f"now, at {clock(now['at'])}", *_told(now)]


def _told(decision: Report) -> list[str]:
    return [f"  {decision['sentence']}", f"    {_numbers(decision['inputs'])}", f"    {_way(decision)}"]


def _way(decision: Report) -> str:
    """The size after each limit: `9 wanted → 6 (max) → 4 (limits.max_workers)`."""
    return " → ".join(
        [f"{decision['wanted']} wanted", *(f"{step['size']} ({step['limit']})" for step in decision["steps"])]
    )


def _numbers(inputs: Report) -> str:
    service_s, plural = inputs["service_s"], "" if inputs["workers"] == 1 else "s"
    parts = [
        f"{inputs['queued']} queued, {inputs['running']} running"
        + (f", {inputs['held']} can't start yet" if inputs["held"] else ""),
        "a job's time is unknown" if service_s is None else f"a job takes {service_s:.3g} s",
        f"{inputs['workers']} worker{plural} of {inputs['minimum']}..{inputs['maximum']}",
    ]
    if inputs["jobs_per_worker"] > 1:
        parts.append(f"{inputs['jobs_per_worker']} jobs per worker")
    if inputs["managers"] > 1:
        parts.append(f"manager {inputs['rank'] + 1} of {inputs['managers']}")
    if inputs["foreign_workers"]:
        parts.append(f"{inputs['foreign_workers']} foreign workers")
    if inputs["max_workers"] is not None:
        parts.append(f"limits.max_workers {inputs['max_workers']}")
    parts += [f"a worker uses {units} of {inputs['budgets'][name]} {name}" for name, units in inputs["uses"].items()]
    if inputs["max_everywhere"] is not None:
        parts.append(f"max_everywhere {inputs['max_everywhere']}")
    if inputs["away"]:
        parts.append(f"away: {', '.join(inputs['away'])}")
    return "; ".join(parts)
