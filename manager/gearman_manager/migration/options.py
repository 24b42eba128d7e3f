"""GearmanManager's command-line letters, as options of `gearman-manager`.

A letter overrides the configuration file, as in GearmanManager. `-h` is not among them: here it asks for help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s

if TYPE_CHECKING:
    from gearman_manager.config import JobServer
    from gearman_manager.migration.overrides import Overrides

#: With at least so many -v GearmanManager logged more than the events of workers and their jobs.
_DEBUG_FROM: Final = 4
_SYSLOG: Final = "syslog"


class Seconds(click.ParamType[float]):
    """Seconds, or a duration with its unit, such as `30s` or `5m`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        text = str(value)
        try:
            return parse_duration_s(text if text[-1:].isalpha() else f"{text}s")
        except UnitError as error:
            self.fail(f"{error}; a number without a unit counts seconds.", param, ctx)


_SECONDS: Final = Seconds()


def _folders(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    folders = [Path(part.strip()) for part in (value or "").split(",") if part.strip()]
    for folder in folders:
        if not folder.is_dir():
            raise click.BadParameter(f"the folder {folder} does not exist: create it, or correct its name")
    return tuple(str(folder.absolute()) for folder in folders)


def _log_file(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return str(Path(value).absolute()) if value not in (None, _SYSLOG) else value


def _job_servers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[JobServer, ...]:
    if value is None:
        return ()
    from gearman_manager.config import JobServer
    from gearman_manager.config.address import parse_address

    try:
        return tuple(JobServer(address=parse_address(part.strip())) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS: Final = (
    click.option(
        "-w",
        "workers_dir",
        metavar="DIR[,DIR…]",
        callback=_folders,
        help="Folders of modules, instead of the configured ones.",
    ),
    click.option("-d", "daemon", is_flag=True, help="Run in the background; return once the manager is up, or failed."),
    click.option(
        "-l", "log_file", metavar="FILE", callback=_log_file, help="Log into this file; syslog is the system's log."
    ),
    click.option(
        "--servers",
        metavar="HOST[:PORT][,…]",
        callback=_job_servers,
        help="Connect to these job servers instead of the configured ones.",
    ),
    click.option("-v", "verbosity", count=True, help="Log level info; four times, as -vvvv, debug."),
    click.option(
        "-P", "pid_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the process id into this file."
    ),
    click.option("-u", "user", metavar="USER", help="Run as this user; only root can start it so."),
    click.option(
        "-t", "timeout_s", type=_SECONDS, metavar="SECONDS", help="Longest time one job may run; 0: no limit."
    ),
    click.option(
        "-x", "max_lifetime_s", type=_SECONDS, metavar="SECONDS", help="Replace a worker after this time; 0: never."
    ),
    click.option(
        "-r", "max_jobs", type=click.IntRange(min=0), metavar="N", help="Replace a worker after N jobs; 0: never."
    ),
    click.option(
        "-D", "all_workers", type=click.IntRange(min=1), metavar="N", help="N workers for all functions without a pool."
    ),
    click.option(
        "-Z",
        "dump",
        is_flag=True,
        help="Print the configuration as it would run, as YAML without its secrets, and end.",
    ),
    click.option("-a", "auto_update", is_flag=True, help="Without effect: changed code is always noticed."),
    click.option("-p", "php_prefix", metavar="PREFIX", help="Without effect: PHP functions are found with any prefix."),
)
_OVERRIDES: Final = (
    *("workers_dir", "log_file", "servers", "user", "timeout_s", "max_lifetime_s", "max_jobs", "all_workers"),
)


def gearmanmanager_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the letters to a command, which gets them as keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def overrides_of(letters: Mapping[str, Any]) -> Overrides | None:
    """The letters' overrides of the configuration file; None if there are none."""
    values = {name: letters[name] for name in _OVERRIDES if letters[name] not in (None, ())}
    if letters["verbosity"]:
        values["log_level"] = "debug" if letters["verbosity"] >= _DEBUG_FROM else "info"
    if not values:
        return None
    from gearman_manager.migration.overrides import Overrides

    return Overrides(**values)
