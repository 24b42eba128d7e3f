"""Runs `gearman-manager simulate`: replays a trace under several policies and prints the cost of each.

All policies run on the same virtual clock; ours is the very code that runs in the supervisor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table

from gearman_manager.config import Config, Defaults, Pool, ResolvedScale, ResolvedWindow, load
from gearman_manager.config.resolve import impossible_windows, resolve_pool
from gearman_manager.errors import ManagerError
from gearman_manager.scaling.allotment import Bounds
from gearman_manager.scaling.steps import Field
from gearman_manager.scaling.windows import describe_window
from gearman_manager.simulation.engine import Outcome, Policy, simulate
from gearman_manager.simulation.plot import plot, require_matplotlib
from gearman_manager.simulation.recording import FIRST_UNIX_TIME, LAST_UNIX_TIME
from gearman_manager.simulation.scaling_policies import DatedWindows, FixedCount, OneStep, OurScaler
from gearman_manager.simulation.shared_limits import SharedRoom, shared_room
from gearman_manager.simulation.trace import Arrival, read_jobs, read_trace
from gearman_process.values.durations import format_duration

_DEFAULT_MAX: Final = 10
_POLICIES: Final = ("target_wait_s", "backlog_per_worker", "utilisation")


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options; None means not given."""

    traces: tuple[Path, ...]
    start: datetime | None
    config_file: Path | None
    pool: str | None
    function: str | None
    minimum: int | None
    maximum: int | None
    concurrency: int | None
    target_wait_s: float | None
    backlog_per_worker: int | None
    utilisation: float | None
    cooldown_s: float | None
    idle_s: float | None
    spawn_delay_s: float
    service_mean_s: float | None
    plot: Path | None
    propose: bool
    goal: tuple[float, float] | None
    zone: ZoneInfo
    as_json: bool
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy to try."""

    minimum: int
    maximum: int
    scale: ResolvedScale
    concurrency: int = 1
    windows: tuple[ResolvedWindow, ...] = ()
    room: SharedRoom | None = None  #: that the other pools of the configuration leave


def run(options: Options) -> None:
    """Read the trace, simulate, and print the result.

    Raises:
        ManagerError: trace, options or configuration can't be used.
        ConfigError: the configuration is broken.
    """
    if options.plot is not None:
        require_matplotlib()  # fail before the work, not after it
    if len(options.traces) > 1:
        raise ManagerError("several files are for --propose: one --trace is expected")
    if options.goal is not None or options.as_json:
        raise ManagerError("--goal and --json are for --propose")
    (file,) = options.traces
    rules = rules_of(options)
    trace = read_trace(file, function=options.function, service_mean_s=options.service_mean_s)
    start_s = _start_s(options, rules)
    outcomes = compare(trace, rules, options.spawn_delay_s, start_s)
    _show(trace, rules, outcomes, file.name, start_s)
    if options.plot is not None:
        plot(outcomes, f"{file.stem}: {describe(rules.scale)}", options.plot)
        click.echo(f"wrote {options.plot}")


def compare(trace: Sequence[Arrival], rules: Rules, spawn_delay_s: float, start_s: float = 0.0) -> list[Outcome]:
    """The outcome of each policy: fixed at `max`, fixed at our average, one step at a time, ours.

    For a pool with windows ours is tried without them too; with them the virtual clock begins at this Unix time.
    """
    bounds = Field(rules.minimum, rules.maximum)
    replay = partial(simulate, trace, spawn_delay_s=spawn_delay_s, concurrency=rules.concurrency)
    dated = DatedWindows(rules.windows, start_s)
    ours = replay(OurScaler(bounds, rules.scale, "ours", rules.concurrency, dated))
    average = max(1, round(ours.worker_seconds / ours.samples[-1].at_s))
    most = max(rules.maximum, *(window.max or 0 for window in rules.windows)) if rules.windows else rules.maximum
    others: list[Policy] = [FixedCount(most, f"fixed: {most}")]
    if average != most:
        others.append(FixedCount(average, f"fixed: {average} (our average)"))
    others.append(OneStep(rules.minimum, rules.maximum))
    if rules.windows:
        others.append(OurScaler(bounds, rules.scale, "ours, without windows", rules.concurrency))
    return [*(replay(policy) for policy in others), ours]


def describe_pool(rules: Rules) -> str:
    """The pool's bounds and policy in the words of the configuration."""
    places = f", concurrency: {rules.concurrency}" if rules.concurrency > 1 else ""
    count = len(rules.windows)
    windows = f", {count} window{'s' * (count > 1)}" if count else ""
    return f"min: {rules.minimum}, max: {rules.maximum}{windows}{places}, {describe(rules.scale)}"


def describe(scale: ResolvedScale) -> str:
    """The policy in the words of the configuration."""
    if scale.backlog_per_worker is not None:
        policy = f"backlog_per_worker: {scale.backlog_per_worker}"
    elif scale.utilisation is not None:
        policy = f"utilisation: {scale.utilisation:g}"
    else:
        policy = f"target_wait: {format_duration(scale.target_wait_s or 0)}"
    idle = f", idle: {format_duration(scale.idle_s)}" if scale.idle_s is not None else ""
    return f"{policy}, cooldown: {format_duration(scale.cooldown_s)}{idle}"


def rules_of(options: Options) -> Rules:
    """The pool's policy, else the built-in one, changed by the options."""
    if options.config_file is None and options.pool is not None:
        raise ManagerError("--pool names a pool of a configuration: name the file too: -c config.yaml")
    if options.config_file is None and options.crowded:
        raise ManagerError("--crowded needs the other pools of a configuration: -c config.yaml")
    base = _of_config(load(options.config_file, os.environ), options.pool) if options.config_file else _built_in()
    if options.maximum is None and base.room is not None:
        base = _within(base, base.room.crowded if options.crowded else base.room.alone)
    minimum = base.minimum if options.minimum is None else options.minimum
    maximum = max(minimum, base.maximum) if options.maximum is None else options.maximum
    if minimum > maximum:
        raise ManagerError(f"--min {minimum} is more than --max {maximum}")
    for _, message in impossible_windows(base.windows, minimum, maximum):
        raise ManagerError(f"a window of the pool: {message}")
    concurrency = options.concurrency or base.concurrency
    lowest = min((window.min for window in base.windows if window.min is not None), default=minimum)
    return Rules(
        minimum, maximum, _scale(base.scale, options, min(minimum, lowest)), concurrency, base.windows, base.room
    )


def _within(rules: Rules, most: int) -> Rules:
    """The rules with no more workers than these, at any time of day."""

    def lower(count: int | None) -> int | None:
        return None if count is None else min(count, most)

    windows = tuple(replace(window, min=lower(window.min), max=lower(window.max)) for window in rules.windows)
    return replace(rules, minimum=min(rules.minimum, most), maximum=min(rules.maximum, most), windows=windows)


def _built_in() -> Rules:
    resolved = resolve_pool("default", Pool(), Defaults(), (), 1)
    return Rules(resolved.min, _DEFAULT_MAX, resolved.scale)


def _of_config(config: Config, name: str | None) -> Rules:
    if name is None and len(config.pools) == 1:
        (name,) = config.pools
    if name is None or name not in config.pools:
        known = ", ".join(sorted(config.pools)) or "none"
        wrong = "name a pool with --pool" if name is None else f"there is no pool {name}"
        raise ManagerError(f"{wrong}; the configuration has: {known}")
    cores = len(os.sched_getaffinity(0))
    pools = {each: resolve_pool(each, pool, config.defaults, (), cores) for each, pool in config.pools.items()}
    room, resolved = shared_room(name, pools, Bounds(config.limits.max_workers, config.limits.budgets)), pools[name]
    return Rules(resolved.min, resolved.max, resolved.scale, resolved.concurrency, resolved.windows, room)


def _scale(base: ResolvedScale, options: Options, minimum: int) -> ResolvedScale:
    given = [name for name in _POLICIES if getattr(options, name) is not None]
    if len(given) > 1:
        raise ManagerError("only one of --target-wait, --backlog-per-worker and --utilisation can be tried at a time")
    if options.target_wait_s == 0:
        raise ManagerError("--target-wait must be more than 0")
    scale = base
    if given:
        policy = {name: getattr(options, name) for name in _POLICIES}
        scale = replace(scale, **policy)
    if options.cooldown_s is not None:
        scale = replace(scale, cooldown_s=options.cooldown_s)
    idle_s = options.idle_s if options.idle_s is not None else scale.idle_s or _default_idle_s()
    return replace(scale, idle_s=idle_s if minimum == 0 else None)


def _default_idle_s() -> float | None:
    return resolve_pool("default", Pool.model_validate({"min": 0}), Defaults(), (), 1).scale.idle_s


def _start_s(options: Options, rules: Rules) -> float:
    """The Unix time at which the trace begins. A time without an offset is that of the first window's zone."""
    if not rules.windows:
        if options.start is not None:
            raise ManagerError("--start is for the windows of a pool, and there are none")
        return 0.0
    if options.start is not None:
        zone = ZoneInfo(rules.windows[0].time_zone)
        return (options.start if options.start.tzinfo else options.start.replace(tzinfo=zone)).timestamp()
    first_s = min(read_jobs(options.traces[0], function=options.function, service_mean_s=options.service_mean_s).at_s)
    if not FIRST_UNIX_TIME <= first_s <= LAST_UNIX_TIME:
        raise ManagerError(
            "the pool has windows, so the time of day counts: say when the trace begins, as --start 2026-03-30T07:50, "
            "or write its arrival_s in Unix seconds (`date +%s`)"
        )
    return first_s


def _show(trace: Sequence[Arrival], rules: Rules, outcomes: Sequence[Outcome], name: str, start_s: float) -> None:
    console = Console(highlight=False)
    work_s = sum(job.service_s for job in trace)
    console.print(f"{name}: {len(trace)} jobs in {trace[-1].at_s:.0f} s, {work_s:.0f} s of work")
    console.print(describe_pool(rules))
    if rules.room is not None and str(rules.room):
        console.print(str(rules.room))
    for window in rules.windows:
        console.print(f"window: {describe_window(window)}")
    if rules.windows:
        zone = ZoneInfo(rules.windows[0].time_zone)
        console.print(f"begins {datetime.fromtimestamp(start_s, zone):%a %Y-%m-%d %H:%M:%S %z}")
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True)
    for heading in ("wait p50", "p95", "max", "worker-seconds", "changes", "peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        waits = (f"{outcome.wait_s(share):.2f} s" for share in (0.5, 0.95, 1.0))
        counts = (round(outcome.worker_seconds), outcome.changes, outcome.peak)
        table.add_row(outcome.policy, *waits, *(str(count) for count in counts))
    console.print(table)
