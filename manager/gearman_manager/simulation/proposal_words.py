"""The outcome of `simulate --propose`: in words, as a table, as YAML to be pasted, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table

from gearman_manager.simulation.patterns import SLOT_S, Goal, Pattern
from gearman_manager.simulation.proposed_windows import Window
from gearman_manager.simulation.proposing import MAX_WINDOWS, Hopeless, Proposal, Report, Waits
from gearman_process.values.durations import format_duration

_NAMES: Final = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_ALL_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Setting:
    """What was looked at, and for what."""

    files: Sequence[str]
    pool: str  #: its bounds and policy, in the words of the configuration
    maximum: int
    goal: Goal
    zone: ZoneInfo
    jobs: int
    work_s: float
    notes: Sequence[str] = ()
    has_windows: bool = False  #: the pool has some already

    @property
    def percentile(self) -> str:
        """The name of the goal's percentile: p95."""
        return f"p{self.goal.share * 100:g}"


def show(report: Report, setting: Setting) -> None:
    """Print the report for people."""
    console = Console(highlight=False)
    for line in (*_head(report, setting), "", *sentences(report, setting)):
        console.print(line, markup=False, soft_wrap=True)
    if report.proposals:
        console.print()
        console.print(_table(report))
        console.print()
        click.echo(yaml_of(report, setting))


def sentences(report: Report, setting: Setting) -> list[str]:
    """What was found: a sentence or two for each window, or why there is none."""
    told = [_proposed(one, report, setting) for one in report.proposals]
    told += [_hopeless(one, setting) for one in report.hopeless]
    if not told:
        told.append(f"Nothing to propose: {_why_nothing(report, setting)}")
    if report.left_out:
        told.append(
            f"{report.left_out} more times are late again and again: only the {MAX_WINDOWS} clearest are tried."
        )
    if len(report.rare_weekdays) == _ALL_DAYS:
        told.append(
            "No weekday is there twice in full: what comes back weekly can't be seen, "
            "only what comes back every day, on workdays or at weekends. Two weeks are needed, four are better."
        )
    elif report.rare_weekdays:
        told.append(
            f"There are fewer than two full {_names(report.rare_weekdays, 'or')}: "
            "what comes back only then can't be seen."
        )
    return told


def yaml_of(report: Report, setting: Setting) -> str:
    """The windows as a pool has them, each under a comment."""
    more = ", added to those that it has" if setting.has_windows else ""
    lines = [f"# under the pool{more}:", "windows:"]
    for one in report.proposals:
        lines.append(
            f"  # {_when(one.window)}: {setting.percentile} of waiting {_seconds(one.before.goal_s)} -> "
            f"{_seconds(one.after.goal_s)}, {_hours(one.worker_s)} in {_days(report)}"
        )
        lines.append("  - {" + ", ".join(f"{key}: {_scalar(value)}" for key, value in _keys(one, setting)) + "}")
    return "\n".join(lines)


def as_json(report: Report, setting: Setting) -> str:
    """The report for programs. Waits are in seconds; worker-hours are those of the whole time."""
    covered = report.covered
    windows = [
        {
            **dict(_keys(one, setting)),
            "late_days": one.pattern.late_days,
            "days": one.pattern.days,
            "is_thin": one.pattern.is_thin,
            "jobs": one.jobs,
            "before": _figures(one.before),
            "after": _figures(one.after),
            "more_worker_hours": round(one.worker_s / 3600, 3),
        }
        for one in report.proposals
    ]
    whole: dict[str, Any] = {
        "files": list(setting.files),
        "first_day": covered.first.isoformat(),
        "last_day": covered.last.isoformat(),
        "jobs": setting.jobs,
        "goal": {"share": setting.goal.share, "wait_s": setting.goal.wait_s},
        "before": {**_figures(report.before), "worker_hours": round(report.worker_s / 3600, 3)},
        "after": {
            **_figures(report.after),
            "worker_hours": round((report.worker_s + report.more_worker_s) / 3600, 3),
        },
        "windows": windows,
        "sentences": sentences(report, setting),
        "notes": list(setting.notes),
    }
    return json.dumps(whole, indent=2)


# --- sentences


def _head(report: Report, setting: Setting) -> Iterator[str]:
    first, last = report.covered.first, report.covered.last
    days = f"from {first} to {last}" if first < last else f"of {first}"
    hours = setting.work_s / 3600
    work = f"{hours:,.1f} h" if hours >= 1 else f"{setting.work_s:.0f} s"
    yield f"{', '.join(setting.files)}: {setting.jobs:,} jobs {days} ({setting.zone.key}), {work} of work"
    yield setting.pool
    yield f"goal: {setting.percentile} of waiting is {format_duration(setting.goal.wait_s)} or less"
    yield from (f"note: {note}" for note in setting.notes)


def _proposed(one: Proposal, report: Report, setting: Setting) -> str:
    thin = f" Only {one.pattern.days} days speak for it: look again with more." if one.pattern.is_thin else ""
    return (
        f"{_when(one.window)}: min {one.window.minimum} would have kept {setting.percentile} of waiting at "
        f"{_seconds(one.after.goal_s)}, which was {_seconds(one.before.goal_s)}. "
        f"It was late on {one.pattern.late_days} of {one.pattern.days} days; "
        f"the price is {_hours(one.worker_s)} in {_days(report)}.{thin}"
    )


def _hopeless(one: Hopeless, setting: Setting) -> str:
    instead = "" if one.needed is None else f"; with min {one.needed} and as high a max it would have been kept"
    return (
        f"{_late_time(one.pattern)}: {setting.percentile} of waiting was {_seconds(one.before.goal_s)}, "
        f"and no min up to max, {setting.maximum}, keeps the goal{instead}."
    )


def _why_nothing(report: Report, setting: Setting) -> str:
    seconds = _seconds(report.before.goal_s)
    if not report.late_bins:
        return f"the scaler alone keeps the goal, {setting.percentile} of waiting is {seconds}."
    share = f"in {report.late_bins:,} of {report.bins:,} times of five minutes"
    if report.is_always_late:
        return (
            f"jobs wait too long {share}, so it is no matter of the calendar. "
            "Raise the pool's min or max, or have it plan for shorter waits, with target_wait."
        )
    days = f"{report.late_days} {'day' if report.late_days == 1 else 'days'}"
    return (
        f"jobs waited too long {share}, on {days}, but at no time of the week again and again "
        "to more than chance explains."
    )


def _when(window: Window) -> str:
    return f"{_names(window.weekdays, 'and')} {_hours_of_day(window.start_minute, window.minutes)}"


def _late_time(pattern: Pattern) -> str:
    start, minutes = pattern.start * SLOT_S // 60, (pattern.end - pattern.start) * SLOT_S // 60
    return f"{_names(pattern.weekdays, 'and')} {_hours_of_day(start, minutes)}"


def _hours_of_day(start: int, minutes: int) -> str:
    end = "24:00" if start + minutes == 1440 else _clock((start + minutes) % 1440)
    return f"{_clock(start)}-{end}"


def _clock(minute: int) -> str:
    return "{:02}:{:02}".format(*divmod(minute, 60))


def _names(weekdays: frozenset[int], word: str) -> str:
    days = sorted(weekdays)
    if len(days) == _ALL_DAYS:
        return "every day"
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_NAMES[days[0]]} to {_NAMES[days[-1]]}"
    *others, last = (_NAMES[day] for day in days)
    return f"{', '.join(others)} {word} {last}" if others else last


def _days(report: Report) -> str:
    days = (report.covered.last - report.covered.first).days + 1
    return f"{days} {'day' if days == 1 else 'days'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _hours(worker_s: float) -> str:
    return f"{worker_s / 3600:+,.1f} worker-hours"


# --- tables and keys


def _table(report: Report) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("window", no_wrap=True)
    for heading in ("min", "jobs", "p95", "with", "p99", "with", "worker-hours"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in report.proposals:
        row = (str(one.window.minimum), f"{one.jobs:,}", *_before_and_after(one.before, one.after))
        table.add_row(_when(one.window), *row, f"{one.worker_s / 3600:+,.1f}")
    total = f"{report.worker_s / 3600:,.1f} {report.more_worker_s / 3600:+,.1f}"
    table.add_row("all the time", "", "", *_before_and_after(report.before, report.after), total)
    return table


def _before_and_after(before: Waits, after: Waits) -> list[str]:
    return [_seconds(wait_s) for wait_s in (before.p95_s, after.p95_s, before.p99_s, after.p99_s)]


def _figures(waits: Waits) -> dict[str, float]:
    figures = {"p50_s": waits.p50_s, "p95_s": waits.p95_s, "p99_s": waits.p99_s, "goal_s": waits.goal_s}
    return {name: round(wait_s, 4) for name, wait_s in figures.items()}


def _keys(one: Proposal, setting: Setting) -> Iterator[tuple[str, str | int]]:
    """The keys of a window in the configuration."""
    yield "cron", one.window.cron
    yield "for", format_duration(one.window.minutes * 60)
    yield "min", one.window.minimum
    if setting.zone.key != "UTC":  # what they are without the key
        yield "time_zone", setting.zone.key


def _scalar(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)
