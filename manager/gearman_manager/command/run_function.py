"""`gearman-manager run FUNCTION WORKLOAD`: calls one function once in this terminal, without a server or a fork.

It serves to write and debug a module: prints and breakpoints work, and tracebacks are shown whole.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gearman_client import Address
from gearman_manager import exit_codes
from gearman_manager.config import Config, ConfigError, FoundFunction, lay_out
from gearman_manager.errors import ManagerError
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.job import Job
from gearman_manager.modules.discovery import load_all
from gearman_manager.result import encode_result


class _TerminalJob:
    """Replaces an assigned job: it prints the function's reports."""

    server = Address()
    server_is_ours = True
    attempt = 1
    handle = "H:terminal:1"
    unique = ""

    def __init__(self, function: str, workload: bytes) -> None:
        self.function = function
        self.workload = workload

    def status(self, numerator: int, denominator: int) -> None:
        """Progress goes to standard error."""
        click.echo(f"status {numerator}/{denominator}", err=True)

    def data(self, data: bytes) -> None:
        """Data is part of the output."""
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    def warning(self, data: bytes) -> None:
        """A warning goes to standard error."""
        click.echo(f"warning {data.decode(errors='replace')}", err=True)


def run(config: Config, name: str, workload: bytes) -> int:
    """Call the function and print its result; returns the exit code.

    Raises:
        ManagerError: there is no such function.
        ConfigError: its module, or the configuration, is broken.
    """
    logging.basicConfig(level=config.log.level.upper(), format="%(levelname)s %(name)s: %(message)s")
    discovered = load_all([Path(folder) for folder in config.workers_dir])
    found = [FoundFunction(f.name, f.file, f.line, f.options) for f in discovered.functions]
    unloaded = [file for error in discovered.errors for file in error.modules]
    layout = lay_out(config, found, usable_cores(Cgroup.of()), unloaded)
    function = layout.functions.get(name)
    if function is None:
        for error in discovered.errors:
            click.echo(str(error), err=True)
        raise ManagerError(f"there is no function {name}; there are: {', '.join(sorted(layout.functions)) or 'none'}")
    if any(problem.is_fatal for problem in layout.problems):
        raise ConfigError([problem for problem in layout.problems if problem.is_fatal])
    loaded = {(f.file, f.name): f.target for f in discovered.functions}
    return _call(loaded[function.file, function.module_name], name, function.settings, workload)


def _call(target: Any, name: str, settings: Mapping[str, Any], workload: bytes) -> int:
    assigned: Any = _TerminalJob(name, workload)
    job = Job(assigned, settings, logging.getLogger(name))
    worker: Any = target() if isinstance(target, type) else None
    try:
        if worker is not None and hasattr(worker, "setup"):
            worker.setup(settings)
        result = encode_result(target(job) if worker is None else worker.run(job))
        sys.stdout.buffer.write(result)
        sys.stdout.flush()
        if sys.stdout.isatty() and not result.endswith(b"\n"):
            click.echo()
        return exit_codes.OK
    except Exception:  # noqa: BLE001 (user code: its traceback is what the user wants to see)
        traceback.print_exc()
        return exit_codes.FAILURE
    finally:
        if worker is not None and hasattr(worker, "teardown"):
            worker.teardown()
