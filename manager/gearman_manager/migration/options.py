"""GearmanManager's command-line letters, as options of `gearman-manager`, and its `import-ini` command.

A letter overrides the configuration file, as it did there. `-h` is not among them: here it asks for help.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gearman_manager.command_context import mistakes_are_messages
from gearman_manager.errors import StartError

if TYPE_CHECKING:
    from gearman_manager.migration.overrides import Overrides

#: From so many -v on GearmanManager logged more than what happens to workers and their jobs.
_DEBUG_FROM: Final = 4
_SECONDS: Final = click.FloatRange(min=0)


def _folders(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    folders = [Path(part.strip()) for part in (value or "").split(",") if part.strip()]
    for folder in folders:
        if not folder.is_dir():
            raise click.BadParameter(f"the folder {folder} does not exist: create it, or correct its name")
    return tuple(str(folder.absolute()) for folder in folders)


def _log_file(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value == "syslog":
        raise click.BadParameter("not available: syslog; without -l the lines go to standard error, for the journal")
    return str(Path(value).absolute()) if value is not None else None


_OPTIONS: Final = (
    click.option("-w", "workers_dir", metavar="DIR[,DIR…]", callback=_folders, help="Folders of function modules."),
    click.option("-l", "log_file", metavar="FILE", callback=_log_file, help="Log into this file."),
    click.option("-v", "verbosity", count=True, help="Log more: -v is info, -vvvv is debug."),
    click.option(
        "-P", "pid_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the process id into this file."
    ),
    click.option("-u", "user", metavar="USER", help="Run as this user, when started by root."),
    click.option(
        "-t", "timeout_s", type=_SECONDS, metavar="SECONDS", help="Longest time one job may run; 0: no limit."
    ),
    click.option("-x", "max_lifetime_s", type=_SECONDS, metavar="SECONDS", help="Replace a worker after this time."),
    click.option("-r", "max_jobs", type=click.IntRange(min=0), metavar="N", help="Replace a worker after N jobs."),
    click.option(
        "-D", "all_workers", type=click.IntRange(min=1), metavar="N", help="N workers for all functions without a pool."
    ),
    click.option("-Z", "dump", is_flag=True, help="Print the configuration as it would run, and end."),
    click.option("-a", "auto_update", is_flag=True, help="Nothing: changed code is always noticed."),
    click.option("-p", "php_prefix", metavar="PREFIX", help="Nothing: PHP functions are found with any prefix."),
)
_OVERRIDES: Final = (*("workers_dir", "log_file", "user", "timeout_s", "max_lifetime_s", "max_jobs", "all_workers"),)


def gearmanmanager_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the letters to a command, which gets them as keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def overrides_of(letters: Mapping[str, Any]) -> "Overrides | None":
    """What the letters say against the configuration file; None when they say nothing."""
    values = {name: letters[name] for name in _OVERRIDES if letters[name] not in (None, ())}
    if letters["verbosity"]:
        values["log_level"] = "debug" if letters["verbosity"] >= _DEBUG_FROM else "info"
    if not values:
        return None
    from gearman_manager.migration.overrides import Overrides

    return Overrides(**values)


@contextmanager
def written_pid_file(path: Path | None) -> Iterator[None]:
    """The process id in a file, for as long as the block lasts.

    Raises:
        StartError: the file can't be written.
    """
    if path is None:
        yield
        return
    own = f"{os.getpid()}\n"
    try:
        path.write_text(own)
    except OSError as error:
        raise StartError(f"the pid file {path} can't be written: {error.strerror}; choose another one") from error
    try:
        yield
    finally:
        with suppress(OSError):  # it may be another manager's by now, or out of the reach of the user we became
            if path.read_text() == own:
                path.unlink()


@click.command("import-ini")
@click.argument("file", type=click.Path(path_type=Path))
@mistakes_are_messages
def import_ini(file: Path) -> None:
    """Print our YAML for GearmanManager's ini FILE, with a comment for whatever has no twin.

    Write it beside the ini file: relative paths start at the configuration's folder.
    """
    from gearman_manager.migration.import_ini import read_ini

    sys.stdout.write(read_ini(file))
