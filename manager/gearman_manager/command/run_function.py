"""`gearman-manager run FUNCTION WORKLOAD`: calls one function once in this terminal, without a server or a fork.

It serves to write and debug a module: prints and breakpoints work, and tracebacks are shown whole.
"""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from gearman_client import Address
from gearman_client.typed_json.free_result import encode_result
from gearman_client.typed_json.mismatch import Mismatch
from gearman_client.worker.checkpoints import Series, encode_cursor
from gearman_manager import exit_codes
from gearman_manager.config import Config, ConfigError, FoundFunction, ResolvedFunction, lay_out
from gearman_manager.errors import ManagerError
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.job import Job
from gearman_manager.job_client import use_servers
from gearman_manager.modules.discovery import LoadedFunction, load_all
from gearman_manager.verdict import Reject
from gearman_manager.worker.batch_call import one_each
from gearman_manager.worker.function_call import awaited


class _TerminalJob:
    """Replaces an assigned job: it prints the function's reports."""

    server = Address()
    server_is_ours = True
    attempt = 1
    unique = key = ""
    tags = ()
    headers: ClassVar[Mapping[str, str]] = {}
    priority = None
    cursor = None
    is_interrupted = False

    def __init__(self, function: str, workload: bytes, number: int) -> None:
        self.handle = f"H:terminal:{number}"
        self.function = function
        self.workload = workload

    def status(self, numerator: int, denominator: int) -> None:
        """Progress goes to standard error."""
        click.echo(f"status {numerator}/{denominator}", err=True)

    def checkpoint(self, cursor: Any) -> bool:
        """A checkpoint goes to standard error."""
        click.echo(f"checkpoint {encode_cursor(cursor).decode()}", err=True)
        return True

    def iterate(self, items: Any, *, cursor: Any, every: float, uninterrupted: Any) -> Series[Any]:
        """The items: nothing interrupts them here."""
        return Series(self, items, cursor, every, uninterrupted)

    def begin_series(self) -> None:
        """One goes through its items."""

    def note_cursor(self, cursor: Any) -> None:
        """Its checkpoints would only hide what the function prints."""
        encode_cursor(cursor)

    def send_cursor(self) -> None:
        """As above."""

    def give_way(self) -> None:
        """Nothing wants it to leave."""

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
    found = [FoundFunction(f.name, f.file, f.line, f.options, f.is_async) for f in discovered.functions]
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
    use_servers([server.reached_by for server in config.servers], [], config.prefix)
    loaded = {(f.file, f.name): f for f in discovered.functions}
    return _call(loaded[function.file, function.module_name], function, workloads)


def _call(loaded: LoadedFunction, function: ResolvedFunction, workloads: Sequence[bytes]) -> int:
    target: Any = loaded.target
    jobs = [_job(function, workload, number) for number, workload in enumerate(workloads, 1)]
    worker: Any = target() if isinstance(target, type) else None
    called = loaded.called(target if worker is None else worker.run)
    with _Loop() as loop:
        try:
            if worker is not None and hasattr(worker, "setup"):
                loop.complete(worker.setup(function.settings))
            returned = loop.complete(called(jobs[0] if function.batch is None else jobs))
            results = [returned] if function.batch is None else one_each(returned, len(jobs))
            has_failed = [_show(result, is_alone=len(jobs) == 1) for result in results]
            return exit_codes.FAILURE if any(has_failed) else exit_codes.OK
        except Exception as error:  # noqa: BLE001 (user code)
            if isinstance(error, Reject) and isinstance(error.__cause__, Mismatch):
                click.echo(f"Reject: {error}", err=True)  # its arguments do not fit: no fault of the function
            else:
                traceback.print_exc()  # what the user wants to see
            return exit_codes.FAILURE
        finally:
            if worker is not None and hasattr(worker, "teardown"):
                loop.complete(worker.teardown())


class _Loop:
    """An asyncio loop for functions that need one, made when the first of them is called."""

    def __init__(self) -> None:
        self._runner: Any = None

    def __enter__(self) -> _Loop:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def complete(self, returned: object) -> object:
        """What was returned, or its result if it has to be awaited."""
        if not inspect.isawaitable(returned):
            return returned
        if self._runner is None:
            import asyncio  # most functions do without

            self._runner = asyncio.Runner()
        return self._runner.run(awaited(returned))


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
