"""Shows jobs and dead letters to people: in tables on a terminal, or one with all its details."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from gearman_manager.command.status_view import wide_console
from gearman_manager.command.words import printed
from gearman_process.values.durations import rough_duration

Row = dict[str, Any]

_TIMES: Final = frozenset(
    {
        *("submitted", "since", "not_before", "first_attempt", "last_attempt", "died", "expires"),
        *("opened", "closed", "ended", "started"),
    }
)
_HIDDEN: Final = frozenset({"workload_base64"})
#: The fields that are shown on lines of their own, below the rest.
_TEXTS: Final = ("data", "error", "traceback", "result", "workload")
#: Those that are escaped already.
_ESCAPED: Final = ("data", "result", "workload")


def show_jobs(rows: Sequence[Row]) -> None:
    """Print the jobs that wait or run."""
    table = Table("handle", "function", "state", "for", "age", "attempt", "priority", "unique", "workload", box=None)
    table.columns[0].no_wrap = True  # users copy handles
    for row in rows:
        kind = "" if row["background"] else " (a client waits)"
        times = (rough_duration(row["for_s"]), rough_duration(row["age_s"]))
        cells = (row["handle"], row["function"], row["state"] + kind, *times, str(row["attempt"]), row["priority"])
        table.add_row(*map(_cell, cells), _cell(row["unique"]), _preview(row))
    wide_console().print(table)


def show_finished(rows: Sequence[Row]) -> None:
    """Print finished jobs."""
    table = Table(
        "handle", "function", "outcome", "ended", "ran for", "attempt", "worker", "error", "workload", box=None
    )
    table.columns[0].no_wrap = True
    now = time.time()
    for row in rows:
        ago = rough_duration(max(0.0, now - row["ended"])) + " ago"
        ran = "" if row["started"] is None else rough_duration(max(0.0, row["ended"] - row["started"]))
        cells = (row["handle"], row["function"], row["outcome"], ago, ran, str(row["attempt"] or ""), row["worker"])
        table.add_row(*map(_cell, cells), _cell(row["error"]), _preview(row))
    wide_console().print(table)


def show_dead(rows: Sequence[Row]) -> None:
    """Print the jobs that failed for good."""
    table = Table("handle", "function", "died", "attempts", "error", "unique", "workload", box=None)
    table.columns[0].no_wrap = True
    now = time.time()
    for row in rows:
        ago = rough_duration(max(0.0, now - row["died"])) + " ago"
        cells = (row["handle"], row["function"], ago, str(row["attempts"]), row["error"], row["unique"])
        table.add_row(*map(_cell, cells), _preview(row))
    wide_console().print(table)


def show_keys(rows: Sequence[Row]) -> None:
    """Print the keys of a function."""
    table = Table("key", "waiting", "running", "may start", "held by", box=None)
    for row in rows:
        held_by = row["held_by"]
        if row["opens_in_s"] is not None:
            held_by += f" for {rough_duration(row['opens_in_s'])}"
        numbers = (str(row[name]) for name in ("waiting", "running", "startable"))
        table.add_row(_cell(row["key"] or "(none)"), *numbers, _cell(held_by))
    wide_console().print(table)


def show_batches(rows: Sequence[Row]) -> None:
    """Print batches of jobs."""
    numbers = ("jobs", "waiting", "complete", "failed", "expired", "cancelled", "stopped")
    table = Table("batch", "state", "opened", *numbers, box=None)
    table.columns[0].no_wrap = True  # users copy ids
    now = time.time()
    for row in rows:
        kind = " (cancelled)" if row["is_cancelled"] else " (still counting)" if row["is_counting"] else ""
        ago = rough_duration(max(0.0, now - row["opened"])) + " ago"
        table.add_row(*map(_cell, (row["batch"], row["state"] + kind, ago)), *(str(row[name]) for name in numbers))
    wide_console().print(table)


def show_one(row: Row) -> None:
    """Print all details of one job, dead letter or batch."""
    for name, value in row.items():
        if name not in _HIDDEN and name not in _TEXTS and value not in (None, "", [], {}):
            click.echo(f"{name}: {_value(name, value)}")
    for name in _TEXTS:
        if row.get(name):
            # The texts of a failure have several lines.
            text = row[name] if name in _ESCAPED else "\n".join(map(printed, row[name].splitlines()))
            click.echo(f"\n{name}:\n{text}")


def _cell(text: str) -> Text:
    return Text(printed(text))  # rich would take a plain string's [brackets] for styles


def _preview(row: Row) -> Text:
    if row.get("is_redacted") and not row["preview"]:
        return Text("(private)")
    return Text(row["preview"] + (" …" if row["bytes"] > 64 else ""))


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES and isinstance(value, (int, float)):
        return _clock(value)
    if isinstance(value, dict):
        value = [f"{key}={text}" for key, text in value.items()]
    return printed(", ".join(value) if isinstance(value, list) else str(value))


def _clock(unix_time: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_time))
    except (OSError, OverflowError, ValueError):  # a client may ask for a year beyond the calendar's
        return f"{unix_time:.0f} (Unix seconds)"
