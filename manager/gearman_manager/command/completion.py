"""Completes names of pools, workers, functions, batches, groups of failures and job servers in the shell.

They come from the running manager, or else from the files.

It runs while a user types: nothing here may fail, print, or import a worker module.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from gearman_manager.command.context import ask, load_config
from gearman_manager.errors import ManagerError


def pools(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument POOL."""
    running = _status(context)
    return _starting_with(incomplete, running["pools"] if running else _configured(context)[0])


def pools_and_workers(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument POOL[/N]."""
    running = _status(context)
    if not running:
        return _starting_with(incomplete, _configured(context)[0])
    workers = (worker["name"] for pool in running["pools"].values() for worker in pool["workers"])
    return _starting_with(incomplete, [*running["pools"], *workers])


def pools_or_functions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For arguments POOL, or `function` and names of functions."""
    if context.params.get(parameter.name or ""):  # the words before this one, and no pool is followed by another
        return functions(context, parameter, incomplete)
    return [*pools(context, parameter, incomplete), *_starting_with(incomplete, ["function"])]


def functions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument FUNCTION."""
    running = _status(context)
    return _starting_with(incomplete, running["functions"] if running else _configured(context)[1])


def batches(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument ID of a batch that is not done."""
    _know_config(context)
    rows: list[dict[str, Any]] = []
    for state in ("open", "closed"):
        with suppress(ManagerError):
            rows += ask(context, "GET", f"/jobs/batches?state={state}&limit=100")["jobs"]
    return _starting_with(incomplete, (row["batch"] for row in rows))


def failure_groups(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument ID of a group of failures."""
    from gearman_manager.config import ConfigError

    _know_config(context)
    with suppress(ManagerError, ConfigError):
        return _starting_with(incomplete, (row["id"] for row in ask(context, "GET", "/failures?limit=100")["groups"]))
    return []


def instances(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For the number of a bundled job server."""
    from gearman_manager.config import ConfigError

    _know_config(context)
    try:
        server = load_config(context).server
    except ConfigError:
        return []
    return [
        text for number in range(server.instances if server else 0) if (text := str(number + 1)).startswith(incomplete)
    ]


def _starting_with(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _status(context: click.Context) -> dict[str, Any]:
    """The running manager's status; empty if none runs."""
    from gearman_manager.config import ConfigError

    _know_config(context)
    with suppress(ManagerError, ConfigError):
        status: dict[str, Any] = ask(context, "GET", "/status")
        return status
    return {}


def _configured(context: click.Context) -> tuple[list[str], list[str]]:
    """The pools and functions that the configuration names; file names of modules count as both."""
    from gearman_manager.config import ConfigError

    _know_config(context)
    try:
        config = load_config(context)
    except ConfigError:
        return [], []
    modules = [path.stem for folder in config.workers_dir for path in Path(folder).rglob("[!_]*.py")]
    named = [name for pool in config.pools.values() for name in pool.functions or () if name != "*"]
    return [*config.pools, *modules], [*config.functions, *named, *modules]


def _know_config(context: click.Context) -> None:
    """Set the configuration's path, as the command does when it runs; completion does not run it."""
    context.obj = context.obj or context.find_root().params["config"]
