"""Runs `gearman-manager simulate --propose`: looks for windows in recorded arrivals, and prints them."""

from __future__ import annotations

from typing import Final

import click

from gearman_manager.errors import ManagerError
from gearman_manager.scaling.steps import Field
from gearman_manager.scaling.windows import bounds_between
from gearman_manager.simulation.patterns import Goal
from gearman_manager.simulation.proposal_words import Setting, as_json, show
from gearman_manager.simulation.proposing import propose
from gearman_manager.simulation.recording import read_recording
from gearman_manager.simulation.replay import CALM_S, ReplaySettings
from gearman_manager.simulation.run import Options, describe_pool, rules_of
from gearman_manager.simulation.scaling_policies import Bounded
from gearman_process.values.durations import format_duration

_GOAL_S: Final = 2.0  #: of pools that scale by something else than a wait


def run(options: Options) -> None:
    """Read the arrivals, look for windows, and print them.

    Raises:
        ManagerError: files, options or configuration can't be used.
        ConfigError: the configuration is broken.
    """
    if options.plot is not None:
        raise ManagerError("--plot can't be used with --propose")
    rules = rules_of(options)
    start_s = None
    if options.start is not None:
        start_s = (options.start if options.start.tzinfo else options.start.replace(tzinfo=options.zone)).timestamp()
    recording = read_recording(
        options.traces, function=options.function, service_mean_s=options.service_mean_s, start_s=start_s
    )
    load = recording.load
    goal = (
        Goal(rules.scale.target_wait_s or _GOAL_S) if options.goal is None else Goal(options.goal[1], options.goal[0])
    )
    settings = ReplaySettings(rules.scale, options.spawn_delay_s, rules.concurrency, CALM_S)
    pool = Bounded(rules.minimum, rules.maximum, rules.windows)
    bounds = [(at, Field(b.minimum, b.maximum)) for at, b in bounds_between(pool, load.start_s, load.end_s)]
    report = propose(load, bounds, settings, goal, options.zone)
    setting = Setting(
        files=[file.name for file in options.traces],
        pool=f"{describe_pool(rules)}; a worker starts within {format_duration(options.spawn_delay_s)}",
        maximum=rules.maximum,
        goal=goal,
        zone=options.zone,
        jobs=len(load.jobs.at_s),
        work_s=sum(load.jobs.service_s),
        notes=recording.notes,
        has_windows=bool(rules.windows),
    )
    if options.as_json:
        click.echo(as_json(report, setting))
    else:
        show(report, setting)
