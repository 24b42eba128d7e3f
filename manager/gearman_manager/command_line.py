"""The command `gearman-manager`: reads the arguments, does what they say, ends with a named exit code.

Heavy parts are imported by the command that needs them, so that `--help` and `status` answer at once.
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import click

from gearman_manager import __version__, exit_codes
from gearman_manager.errors import ManagerError

if TYPE_CHECKING:
    from gearman_manager.config import Config
    from gearman_manager.run_folder import RunFolder

_Parameters = ParamSpec("_Parameters")


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"gearman-manager: {message}", err=True)
    sys.exit(code)


def _mistakes_are_messages(command: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """A user's mistake ends in a message and an exit code, never in a traceback."""

    @wraps(command)
    def wrapper(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        from gearman_manager.config import ConfigError

        try:
            command(*args, **kwargs)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            sys.exit(exit_codes.CONFIGURATION)
        except ManagerError as error:
            _fail(str(error), exit_codes.FAILURE)

    return wrapper


def _load(context: click.Context) -> "Config":
    from gearman_manager.config import load

    config: Config = load(context.obj, os.environ)
    return config


def _run_folder(context: click.Context, config: "Config") -> "RunFolder":
    from gearman_manager.run_folder import RunFolder, default_run_folder

    return RunFolder(Path(config.run_dir) if config.run_dir else default_run_folder(context.obj))


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config.yaml"),
    show_default=True,
    help="The configuration file.",
)
@click.version_option(__version__, "-V", "--version", prog_name="gearman-manager")
@click.pass_context
@_mistakes_are_messages
def main(context: click.Context, config: Path) -> None:
    """Keep pools of Gearman workers alive, scaled with the queue, with the job server in the box.

    Without a command it runs in the foreground until Ctrl-C or SIGTERM: running jobs are finished first.
    A new folder to start with is made by `gearman-manager init DIR`.
    """
    context.obj = config
    if context.invoked_subcommand is None:
        _run(context)


def _run(context: click.Context) -> None:
    from setproctitle import setproctitle

    from gearman_manager import log
    from gearman_manager.supervisor import Supervisor

    config = _load(context)
    setproctitle("gearman-manager: supervisor")
    file = Path(config.log.file) if config.log.file else None
    try:
        log.set_up(config.log.level.upper(), config.log.format, file)
    except OSError as error:
        raise ManagerError(f"the log file {file} can't be opened: {error.strerror}; correct log.file") from error
    sys.exit(Supervisor(context.obj, config, _run_folder(context, config)).run())


@main.command()
@click.pass_context
@_mistakes_are_messages
def check(context: click.Context) -> None:
    """Load the configuration and every module as a run would, and print what would run.

    Ends with 78 and the reasons when something is wrong.
    """
    from gearman_manager import check as checking

    sys.exit(checking.check(_load(context)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@_mistakes_are_messages
def functions(context: click.Context, as_json: bool) -> None:
    """List the functions that the modules hold, from which file, with which options, and what failed to load."""
    from gearman_manager import check as checking

    sys.exit(checking.functions(_load(context), as_json=as_json))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@click.pass_context
@_mistakes_are_messages
def status(context: click.Context, as_json: bool) -> None:
    """Show what the running manager's pools, workers, functions and job servers do."""
    import json

    report = _ask(context, "GET", "/status")
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        from gearman_manager.status_view import show

        show(report)


@main.command()
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait.")
@click.pass_context
@_mistakes_are_messages
def stop(context: click.Context, timeout: float) -> None:
    """Stop the running manager: running jobs are finished, then it ends."""
    from gearman_manager.control_client import wait_until_gone

    folder = _folder_of_running(context)
    pid = folder.read_pid()
    _ask(context, "POST", "/stop")
    if pid is not None and not wait_until_gone(pid, timeout):
        _fail(f"the manager (pid {pid}) still finishes jobs after {timeout:g} s", exit_codes.FAILURE)
    click.echo("stopped")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@_mistakes_are_messages
def init(folder: Path) -> None:
    """Write a commented config.yaml and a first module into FOLDER (default: here). Overwrites nothing."""
    from gearman_manager.starter import write_starter

    for file in write_starter(folder):
        click.echo(f"wrote {file}")
    click.echo(f"next: cd {folder} && gearman-manager -c config.yaml")


def _ask(context: click.Context, method: str, resource: str) -> Any:
    from gearman_manager.control_client import request

    return request(_folder_of_running(context).socket, method, resource)


def _folder_of_running(context: click.Context) -> "RunFolder":
    """Where the manager runs, also when the file was broken after its start: just then people ask for its status.

    Raises:
        ConfigError: the file is broken, and no manager runs where it seems to say.
    """
    from gearman_manager.config import ConfigError, written_run_dir
    from gearman_manager.run_folder import RunFolder, default_run_folder

    try:
        return _run_folder(context, _load(context))
    except ConfigError:
        written = written_run_dir(context.obj, os.environ)
        folder = RunFolder(Path(written) if written else default_run_folder(context.obj))
        if not folder.socket.exists():
            raise
        return folder
