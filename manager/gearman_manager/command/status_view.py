"""Shows the status report to people, as tables on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gearman_manager.command.words import clock, left_of, printed
from gearman_process.values.durations import rough_duration
from gearman_process.values.escaping import escape_text

Report = dict[str, Any]
WATCH_INTERVAL_S: Final = 1.0
#: Wider than any line: a reader of a pipe wants a whole job on one line.
PIPE_WIDTH: Final = 20_000
JOBS_SHOWN: Final = 10


def show(report: Report) -> None:
    """Print the report."""
    wide_console().print(_view(report))


def wide_console() -> Console:
    """A console that cuts no lines if the output is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def show_live(ask: Callable[[], Report]) -> None:
    """Show the report, anew every second, until Ctrl-C."""
    with suppress(KeyboardInterrupt), Live(_view(ask()), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(WATCH_INTERVAL_S)
            live.update(_view(ask()), refresh=True)


def _view(report: Report) -> Group:
    since_s = _since_s(report["supervisor"]["since"])
    parts: list[RenderableType] = [f"manager pid {report['supervisor']['pid']}, running for {rough_duration(since_s)}"]
    if report.get("drain"):
        parts.append(Text(_drain(report["drain"]), "red"))
    budgets = [_budgets(report)] if report["budgets"] else []
    tables = (_pools(report), _reasons(report), *budgets, _workers(report), _functions(report), _servers(report))
    for table in tables:
        parts += ["", table]
    for error in report["errors"]:
        where = f"{error['file']}:{error['line']}" if error["line"] else error["file"]
        parts.append(Text.assemble(("error ", "red"), escape_text(f"{where}: {error['message']}")))
    return Group(*parts)


def _drain(drain: Report) -> str:
    """What is left of a drain, in one line."""
    still = f"; may still begin a job: {', '.join(drain['may_begin'])}" if drain["may_begin"] else ""
    return f"draining: {left_of(drain)}{still}"


def _since_s(moment: float) -> float:
    """The time since a moment, at least 0: the clock may have been set back."""
    return max(0.0, time.time() - moment)


def _pools(report: Report) -> Table:
    table = Table("pool", "min", "max", "target", "workers", "busy", "last error", box=None)
    for name, pool in report["pools"].items():
        busy = sum(worker["state"] == "busy" for worker in pool["workers"])
        mark = "" if pool["state"] == "running" else pool["state"] + " "
        error = Text.assemble((mark, "red"), escape_text(pool["last_error"]))
        numbers = (pool["min"], pool["max"], pool["target"], len(pool["workers"]), busy)
        table.add_row(name, *(str(number) for number in numbers), error)
    return table


def _reasons(report: Report) -> Table:
    table = Table("pool", "why", box=None)
    for name, pool in report["pools"].items():
        table.add_row(name, Text(printed(pool["why"] or "-")))
        if pool["bounds"]:
            table.add_row("", Text(printed(pool["bounds"])))
    return table


def _budgets(report: Report) -> Table:
    table = Table("budget", "units", "used", box=None)
    for name, budget in report["budgets"].items():
        table.add_row(name, str(budget["units"]), str(budget["used"]))
    return table


def _workers(report: Report) -> Table:
    table = Table("worker", "pid", "state", "job", "for", "done", "failed", "memory", "age", box=None)
    for pool in report["pools"].values():
        for worker in pool["workers"]:
            jobs = _jobs(worker["jobs"])
            if worker["fetched"]:
                jobs.append((f"and {worker['fetched']} fetched", ""))
            table.add_row(
                worker["name"],
                str(worker["pid"] or "-"),
                worker["state"],
                *jobs[0],
                "-" if worker["done"] is None else str(worker["done"]),
                "-" if worker["failed"] is None else str(worker["failed"]),
                f"{worker['private_bytes'] / 1e6:.1f} MB" if worker["private_bytes"] else "-",
                rough_duration(worker["age_s"]),
            )
            for job, running in jobs[1:]:
                table.add_row("", "", "", job, running)
    return table


def _jobs(jobs: Sequence[Report]) -> list[tuple[str | Text, str]]:
    """A worker's jobs and their run times, a line for each; of very many jobs only those that run longest."""
    lines: list[tuple[str | Text, str]] = [
        (Text(printed(f"{job['function']} {job['handle']}")), rough_duration(job["for_s"])) for job in jobs[:JOBS_SHOWN]
    ]
    if len(jobs) > JOBS_SHOWN:
        lines.append((f"and {len(jobs) - JOBS_SHOWN} more", ""))
    return lines or [("-", "-")]


def _functions(report: Report) -> Table:
    table = Table("function", "pool", "queued", "running", "workers", "held", "file", box=None)
    for name, entry in report["functions"].items():
        numbers = ["-" if entry[key] is None else str(entry[key]) for key in ("queued", "running", "workers")]
        numbers[0] += f" ({entry['held_back']} held back)" if entry["held_back"] else ""
        hold = _hold(entry)
        held = Text(hold, "red") if hold else Text("-")
        table.add_row(Text(printed(name)), entry["pool"], *numbers, held, Text(printed(entry["file"])))
    return table


def _hold(function: Report) -> str:
    """Why none of its jobs is started: `paused since 12:01`."""
    paused, held, until = (function[name] for name in ("paused_since", "held_since", "held_until"))
    throttled = function["throttled_until"]
    if paused:
        return f"paused since {clock(paused)}"
    if not held:
        return f"throttled until {clock(throttled)}" if throttled else ""
    when = f"until {clock(until)}" if until > time.time() else f"since {clock(held)}, now probed"
    return f"by its brake {when}"


def _servers(report: Report) -> Table:
    table = Table("job server", "state", "for", box=None)
    for address, server in report["servers"].items():
        since = rough_duration(_since_s(server["since"])) if server["since"] else "-"
        state = "down" if not server["up"] else "in trouble" if server["trouble"] else "up"
        table.add_row(address, Text(state, "" if state == "up" else "red"), since)
        if server["trouble"]:
            table.add_row("", Text(printed(server["trouble"]), "red"))
        for notice in server["notices"]:
            table.add_row("", Text(printed(notice)))
    return table
