"""The tasks that all commands share: reading the configuration, finding the running manager, printing mistakes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec

import click

from gearman_manager import exit_codes
from gearman_manager.errors import ManagerError
from gearman_process.values.escaping import escape_text

if TYPE_CHECKING:
    from gearman_manager.config import Config
    from gearman_manager.supervisor.run_folder import RunFolder

_Parameters = ParamSpec("_Parameters")
#: The context's key for the command line's overrides of the configuration file.
OVERRIDES: Final = "gearman_manager.migration.overrides"

#: The errors of redirected output on a full disk.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _use_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.obj = value


def takes_config(command: click.Command) -> None:
    """Allow `-c` after a command's name too."""
    text = "The configuration file; -c may also stand before the command's name.  [default: config.yaml]"
    kind = click.Path(path_type=Path)
    command.params.append(
        click.Option(["-c", "--config"], type=kind, expose_value=False, is_eager=True, callback=_use_config, help=text)
    )


def fail(message: str, code: int) -> NoReturn:
    """End with a message on standard error."""
    click.echo(f"gearman-manager: {escape_text(message)}", err=True)
    sys.exit(code)


def mistakes_are_messages(command: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """Decorates a command: a user's mistake ends in a message and an exit code, never in a traceback."""

    @wraps(command)
    def wrapper(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        from gearman_manager.config import ConfigError

        try:
            command(*args, **kwargs)
        except ConfigError as error:
            from gearman_manager.command.check import all_problems

            for problem in all_problems(error):
                click.echo(escape_text(str(problem)), err=True)
            sys.exit(exit_codes.CONFIGURATION)
        except ManagerError as error:
            fail(str(error), exit_codes.FAILURE)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            fail(f"the output can't be written: {error.strerror}", exit_codes.FAILURE)

    return wrapper


def config_source(context: click.Context) -> Callable[[], Config]:
    """A function that reads the configuration that `-c` names at each call, and applies the command line's overrides.

    It raises ConfigError with all mistakes in the file. Variables that only the manager needs are taken out of the
    environment, so that nothing that it starts has them; the next call still knows them.
    """
    environ = dict(os.environ)
    file, overrides = context.obj, context.find_root().meta.get(OVERRIDES)

    def load_again() -> Config:
        from gearman_manager.config import load

        config: Config = load(file, environ, {} if overrides is None else overrides.replaced)
        for name in config.private_variables:
            os.environ.pop(name, None)
        return config if overrides is None else overrides.apply(config)

    return load_again


def load_config(context: click.Context) -> Config:
    """The configuration that `-c` names.

    Raises:
        ConfigError: with all its mistakes.
    """
    return config_source(context)()


def run_folder(context: click.Context, config: Config) -> RunFolder:
    """The folder in which a manager with this configuration has its pid file and socket."""
    from gearman_manager.supervisor.privileges import wanted_account
    from gearman_manager.supervisor.run_folder import RunFolder, default_run_folder

    if config.run_dir:
        return RunFolder(Path(config.run_dir))
    account = wanted_account(config)
    return RunFolder(default_run_folder(context.obj, account.uid if account else None))


def folder_of_running(context: click.Context) -> RunFolder:
    """The running manager's folder, even if the file was broken after its start: just then users need its status.

    Raises:
        ConfigError: the file is broken, and no manager runs in the folder that it seems to name.
    """
    from gearman_manager.config import ConfigError, written_run_dir
    from gearman_manager.supervisor.run_folder import RunFolder, default_run_folder

    try:
        return run_folder(context, load_config(context))
    except ConfigError:
        written = written_run_dir(context.obj, os.environ)
        folder = RunFolder(Path(written) if written else default_run_folder(context.obj))
        if not folder.socket.exists():
            raise
        return folder


def ask(
    context: click.Context, method: str, resource: str, body: object = None, *, timeout_s: float | None = None
) -> Any:
    """Ask the running manager; returns its answer.

    Raises:
        NotRunning, NotFound, ManagerError: no manager runs, there is no such thing, or it refused.
    """
    from gearman_manager.command.control_client import TIMEOUT_S, request

    return request(folder_of_running(context).socket, method, resource, body, timeout_s or TIMEOUT_S)
