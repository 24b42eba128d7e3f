"""The options of `gearman-manager simulate`, kept apart so that the command line stays readable.

Imports only click, and the parser of durations once there is one to parse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _duration_s(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """A duration as in the configuration: 500ms, 30s, 5m."""
    from gearman_process.errors import UnitError
    from gearman_process.values.durations import parse_duration_s

    try:
        return None if value is None else parse_duration_s(value)
    except UnitError as error:
        raise click.BadParameter(str(error)) from error


def _positive_duration_s(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    seconds = _duration_s(context, parameter, value)
    if seconds == 0:
        raise click.BadParameter("a duration above 0 is expected")
    return seconds


def _goal(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """A percentile's share and its wait: `2s` is that of 95 % of the jobs, `p99=500ms` of 99 %."""
    if value is None:
        return None
    match = re.fullmatch(r"(?:p([1-9][0-9]?(?:\.[0-9]{1,2})?)=)?(.*)", value)
    if match is None or not match[2]:
        raise click.BadParameter("a duration such as 2s is expected, or one with a percentile such as p99=500ms")
    wait_s = _positive_duration_s(context, parameter, match[2])
    return float(match[1] or 95) / 100, wait_s or 0.0


def _time_zone(_context: click.Context, _parameter: click.Parameter, value: str) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise click.BadParameter(
            f"there is no time zone {value!r}: a name such as Europe/Berlin is expected"
        ) from error


def _start(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """A date and time, with an offset from UTC or without."""
    try:
        return None if value is None else datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"a time such as 2026-03-30T07:50 is expected, not {value!r}") from error


_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_WORKERS: Final = click.IntRange(min=0, max=100_000)

_OPTIONS: Final = (
    click.option(
        "--trace",
        "traces",
        type=_FILE,
        required=True,
        multiple=True,
        help="CSV of arrival_s,service_s[,function], one row a job. With --propose also an export of Prometheus, and "
        "several files.",
    ),
    click.option("-c", "--config", "config_file", type=_FILE, help="The configuration whose pool is tried."),
    click.option("--pool", help="Which of its pools, if it has several."),
    click.option(
        "--start",
        callback=_start,
        metavar="TIME",
        help="When the trace begins, as 2026-03-30T07:50, for the pool's windows and --propose. Default: as its own "
        "times say, if they are Unix seconds.",
    ),
    click.option("--function", help="Replay only the jobs of this function."),
    click.option("--min", "minimum", type=_WORKERS, help="Fewest workers. Default: the pool's, or 1."),
    click.option("--max", "maximum", type=click.IntRange(1, 100_000), help="Most workers. Default: the pool's, or 10."),
    click.option(
        "--crowded",
        is_flag=True,
        help="With no more workers than the pool has while every other pool of the configuration wants its max.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1000),
        help="Jobs that one worker runs at once. Default: the pool's, or 1.",
    ),
    click.option(
        "--target-wait",
        "target_wait_s",
        callback=_duration_s,
        metavar="DURATION",
        help="How long a job may wait, as 2s.",
    ),
    click.option("--backlog-per-worker", type=click.IntRange(min=1), help="Or: waiting jobs for each worker."),
    click.option("--utilisation", type=click.FloatRange(0, 1, min_open=True), help="Or: the share to be kept busy."),
    click.option(
        "--cooldown",
        "cooldown_s",
        callback=_duration_s,
        metavar="DURATION",
        help="How long demand is lower before workers go.",
    ),
    click.option(
        "--idle",
        "idle_s",
        callback=_duration_s,
        metavar="DURATION",
        help="With --min 0: how long the last worker stays.",
    ),
    click.option(
        "--spawn-delay",
        "spawn_delay_s",
        callback=_duration_s,
        metavar="DURATION",
        default="50ms",
        show_default=True,
        help="A worker's start.",
    ),
    click.option(
        "--service-mean",
        "--service",
        "service_mean_s",
        callback=_positive_duration_s,
        metavar="DURATION",
        help="Mean for rows without a service time, and for exports without run times.",
    ),
    click.option("--plot", type=_FILE, help="Draw queue and workers over time into this picture (needs matplotlib)."),
    click.option("--propose", is_flag=True, help="Look for windows: times of the week that need a higher min."),
    click.option(
        "--goal",
        callback=_goal,
        metavar="[pNN=]DURATION",
        help="With --propose: how long all but a few jobs may wait, as 2s or p99=500ms. Default: p95, the target wait.",
    ),
    click.option(
        "--time-zone",
        "zone",
        callback=_time_zone,
        metavar="ZONE",
        default="UTC",
        show_default=True,
        help="With --propose: the windows' time zone, as Europe/Berlin.",
    ),
    click.option("--json", "as_json", is_flag=True, help="With --propose: print JSON."),
)


def simulation_options(command: _Command) -> _Command:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
