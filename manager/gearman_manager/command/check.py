"""The commands `check` and `functions`: load everything as a run would, in a zygote, and print what was found."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text

from gearman_client import Address
from gearman_manager import exit_codes
from gearman_manager.code.code_loading import CodeLoader, Host, LoadedCode
from gearman_manager.code.generations import counted
from gearman_manager.command.start_checks import pid_file_problem, start_notices, start_problems
from gearman_manager.command.status_view import wide_console
from gearman_manager.config import Config, ConfigError, FoundFunction, Layout, Problem, ResolvedWindow, lay_out
from gearman_manager.errors import ManagerError
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.ipc.lifeline import own_lifeline
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.job_servers.policy_gap_check import gaps_at
from gearman_manager.job_servers.tls_checks import pools_without_tls, tls_problems
from gearman_manager.pools.zygote_process import ZygoteProcess
from gearman_manager.scaling.windows import describe_window, next_start
from gearman_process.values.escaping import escape_line, escape_text

#: The most names in one line; nobody reads more.


class _Nobody:
    """Hears of no worker: a check forks none."""

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """Never called."""

    def spawn_failed(self, name: str, reason: str) -> None:
        """Never called."""

    def exited(self, pid: int, status: int) -> None:
        """Never called."""

    def stopped(self, pid: int) -> None:
        """Never called."""

    @staticmethod
    def zygote_ended(zygote: ZygoteProcess, status: int | None) -> None:
        """Its report, or that there is none, is all that counts."""


def load_code(config: Config) -> LoadedCode:
    """Import the modules in a zygote of their own, as a run would.

    Raises:
        ConfigError: nothing could be loaded.
        StartError: no process can be started.
    """
    doorbell = os.eventfd(0, os.EFD_CLOEXEC)
    links = Links(Scoreboard.create(1), own_lifeline(), doorbell)
    nobody = _Nobody()
    host = Host(usable_cores(Cgroup.of()))
    loader = CodeLoader(lambda: ZygoteProcess(links, "WARNING", nobody, nobody.zygote_ended), host)
    try:
        zygote, code = loader.load(config)
        if zygote is None:
            raise ConfigError(code.errors)
        zygote.kill()
    finally:
        for descriptor in (links.lifeline, doorbell):
            os.close(descriptor)
    return code


def all_problems(error: ConfigError) -> list[Problem]:
    """The problems of a file, and those of its intact part with the modules: all that can be found at once."""
    problems = list(error.problems)
    if error.rest is None or any(problem.key.startswith("workers_dir") for problem in problems):
        return problems
    try:
        code = load_code(error.rest)
    except (ConfigError, ManagerError):
        return problems
    layout = lay_out(error.rest, code.found, usable_cores(Cgroup.of()), code.unloaded)
    for problem in layout.problems:
        # A problem that is reported already, or follows from a removed key, is no further mistake.
        follows = any(f"{earlier.key}.".startswith(f"{problem.key}.") for earlier in error.problems)
        if problem.is_fatal and problem.key in error.rest.places and not follows:
            problems.append(problem)
    return problems


def check(config: Config, pid_file: Path | None = None) -> int:
    """Print what would run, and the problems; returns the exit code. `pid_file` is that of `-P`."""
    code = load_code(config)
    layout = lay_out(config, code.found, usable_cores(Cgroup.of()), code.unloaded)
    wide_console().print(_pools(layout))
    for line in code.passed_over_in(config.workers_dir):
        click.echo(escape_line(line), err=True)
    problems = [*code.errors, *layout.problems, *tls_problems(config), *start_problems(config, layout)]
    if pid_file is not None and (reason := pid_file_problem(pid_file)):
        problems.append(Problem("-P", 0, "", reason))
    _print_problems(problems)
    _print_problems(start_notices(config))
    for notice in pools_without_tls(config, layout):
        click.echo(escape_line(str(notice)), err=True)
    for sentence in gaps_at(_foreign_servers(config), layout):
        click.echo(escape_line(sentence), err=True)
    _print_problems(list(_limits_of_each(config, layout)))
    if not code.errors:
        _print_problems(list(_unserved_schedules(config, layout)))
    if problems:
        return exit_codes.CONFIGURATION
    click.echo(escape_line(f"{config.places.main_file}: fine, {counted(layout)}"))
    return exit_codes.OK


def _unserved_schedules(config: Config, layout: Layout) -> Iterator[Problem]:
    """Notices, not mistakes: workers elsewhere may serve them. But jobs with a misspelt name would wait for ever."""
    if any(not pool.functions for pool in layout.pools.values()):
        return  # a program may register any function
    served = {function for pool in layout.pools.values() for function in pool.functions}
    for name, schedule in config.schedules.items():
        if schedule.function not in served:
            text = f"no pool here serves {schedule.function}: unless workers elsewhere do, correct the name"
            yield config.places.problem(f"schedules.{name}.function", text, is_fatal=False)


def _limits_of_each(config: Config, layout: Layout) -> Iterator[Problem]:
    """Notices: limits that hold for a cluster as a whole, but that each of several servers without one keeps alone."""
    if config.server is None or not config.server.are_independent:
        return
    for name, f in layout.functions.items():
        limits = {"max_running": f.max_running, "rate": f.rate}
        held = [key for key, limit in limits.items() if limit is not None]
        if held:
            text = (
                f"{' and '.join(held)}: each of the {config.server.instances} job servers keeps its own, since they "
                "know nothing of each other; those of a cluster share it"
            )
            yield config.places.problem(f"functions.{name}", text, is_fatal=False)


def _foreign_servers(config: Config) -> list[Address]:
    """The job servers that this manager would not start itself."""
    return [server.reached_by for server in config.servers if server.address not in config.own_addresses]


def functions(config: Config, *, as_json: bool) -> int:
    """Print the discovered functions; returns the exit code."""
    code = load_code(config)
    layout = lay_out(config, code.found, usable_cores(Cgroup.of()), code.unloaded)
    rows = [
        {
            "name": name,
            "pool": f.pool,
            "file": f.file,
            "line": f.line,
            "options": dict(found.options),
            "parameters": found.parameters or None,
        }
        for name, f in sorted(layout.functions.items())
        for found in [_found(code, f.file, f.module_name)]
    ]
    if as_json:
        errors = [{"file": error.file, "line": error.line, "message": error.message} for error in code.errors]
        click.echo(json.dumps({"functions": rows, "errors": errors}, indent=2))
    else:
        table = Table("function", "pool", "file", "options", box=None)
        for name, f in sorted(layout.functions.items()):
            found = _found(code, f.file, f.module_name)
            options = ", ".join(f"{key}: {value}" for key, value in found.options.items())
            cells = (name + found.parameters, f.pool, f"{f.file}:{f.line}", options)
            table.add_row(*(Text(escape_line(cell)) for cell in cells))
        wide_console().print(table)
        _print_problems(code.errors)
    return exit_codes.CONFIGURATION if code.errors else exit_codes.OK


def _pools(layout: Layout) -> Table:
    table = Table("pool", "workers", "functions", box=None)
    for name, pool in sorted(layout.pools.items()):
        size = str(pool.min) if pool.min == pool.max else f"{pool.min}..{pool.max}"
        if pool.concurrency > 1:
            size += f", {pool.concurrency} jobs each"
        if pool.prefetch > 1:
            size += f", {pool.prefetch} jobs fetched at once"
        table.add_row(name, size, Text(escape_line(", ".join(pool.functions))))
        for window in pool.windows:
            table.add_row("", f"  {_window(window)}", "")
    return table


def _window(window: ResolvedWindow) -> str:
    text, next_s = describe_window(window), next_start(window, time.time())
    if math.isinf(next_s):
        return text
    return f"{text}, next {datetime.fromtimestamp(next_s, ZoneInfo(window.time_zone)):%a %Y-%m-%d %H:%M %z}"


def _found(code: LoadedCode, file: str, name: str) -> FoundFunction:
    """What the code says of a function; a program's function has no code."""
    return next((each for each in code.found if (each.file, each.name) == (file, name)), FoundFunction(name, file, 0))


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(escape_text(str(problem)), err=True)
