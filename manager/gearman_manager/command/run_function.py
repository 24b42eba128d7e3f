"""`gearman-manager run FUNCTION WORKLOAD`: calls one function once in this terminal, without a server or a fork.

It serves to write and debug a module: prints and breakpoints work, and tracebacks are shown whole.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gearman_client import Address
from gearman_manager import exit_codes
from gearman_manager.config import Config, ConfigError, FoundFunction, ResolvedFunction, lay_out
from gearman_manager.errors import ManagerError
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.job import Job
from gearman_manager.modules.discovery import load_all
from gearman_manager.result import encode_result
from gearman_manager.worker.batch_call import one_each


class _TerminalJob:
    """Replaces an assigned job: it prints the function's reports."""

    server = Address()
    server_is_ours = True
    attempt = 1
    unique = ""

    def __init__(self, function: str, workload: bytes, number: int) -> None:
        self.handle = f"H:terminal:{number}"
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


def run(config: Config, name: str, workloads: Sequence[bytes]) -> int:
    """Call the function and print its result; returns the exit code.

    Several workloads are for a function that takes a list of jobs; each result then has a line of its own.

    Raises:
        ManagerError: there is no such function, or it takes one job and there are several.
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
    if function.batch is None and len(workloads) > 1:
        raise ManagerError(f"{name} takes one job at a time, and here are {len(workloads)} workloads: give it one")
    if function.batch is not None and len(workloads) > function.batch:
        raise ManagerError(f"{name} takes at most {function.batch} jobs at a time, and here are {len(workloads)}")
    loaded = {(f.file, f.name): f.target for f in discovered.functions}
    return _call(loaded[function.file, function.module_name], function, workloads)


def _call(target: Any, function: ResolvedFunction, workloads: Sequence[bytes]) -> int:
    jobs = [_job(function, workload, number) for number, workload in enumerate(workloads, 1)]
    worker: Any = target() if isinstance(target, type) else None
    called = target if worker is None else worker.run
    try:
        if worker is not None and hasattr(worker, "setup"):
            worker.setup(function.settings)
        results = [called(jobs[0])] if function.batch is None else one_each(called(jobs), len(jobs))
        has_failed = [_show(result, is_alone=len(jobs) == 1) for result in results]
        return exit_codes.FAILURE if any(has_failed) else exit_codes.OK
    except Exception:  # noqa: BLE001 (user code: its traceback is what the user wants to see)
        traceback.print_exc()
        return exit_codes.FAILURE
    finally:
        if worker is not None and hasattr(worker, "teardown"):
            worker.teardown()


def _job(function: ResolvedFunction, workload: bytes, number: int) -> Job:
    assigned: Any = _TerminalJob(function.name, workload, number)
    return Job(assigned, function.settings, logging.getLogger(function.name))


def _show(result: object, *, is_alone: bool) -> bool:
    """Print one job's result; returns whether it is a failure, which only a function of several jobs returns."""
    if isinstance(result, BaseException):
        traceback.print_exception(result)
        return True
    encoded = encode_result(result)
    sys.stdout.buffer.write(encoded)
    sys.stdout.flush()
    if not encoded.endswith(b"\n") and (sys.stdout.isatty() or not is_alone):
        click.echo()
    return False
