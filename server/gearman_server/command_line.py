"""The `gearman-server` command: options into settings, errors into one line and gearmand's exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

import click

from gearman_server import __version__
from gearman_server.errors import ServerError, UsageError
from gearman_server.job_table import BrokerSettings
from gearman_server.listener import ListenerSettings
from gearman_server.log import LogSettings
from gearman_server.options import DEFAULT_ADDRESS, PARAMETERS
from gearman_server.server import ServerSettings, default_handle_prefix, run
from gearman_server.sockets import ListenSettings

EXIT_OK: Final = 0
EXIT_FAILURE: Final = 1

_VERBOSITY_BY_COUNT: Final = ("ERROR", "NOTICE", "INFO", "DEBUG")
_NO_EFFECT: Final = {"threads": "-t", "round_robin": "-R"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 after a clean end, 1 after any error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_before_the_loop_runs)
    command = click.Command(
        "gearman-server",
        params=[*PARAMETERS, _version_option()],
        callback=_start,
        help="A Gearman job server. Serves until SIGTERM or SIGINT; SIGUSR1 lets running jobs end first.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    try:
        command.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as refused:
        _fail(f"{refused.format_message()} (gearman-server --help lists the options)")
    except ServerError as failure:
        _fail(str(failure))
    sys.exit(EXIT_OK)


def _start(**options: Any) -> None:
    settings = settings_of(options)
    if not options["check_args"]:
        run(settings)


def settings_of(options: dict[str, Any]) -> ServerSettings:
    """The settings that the parsed options mean.

    Raises:
        UsageError: options that can't be carried out.
    """
    if options["store"] != "memory":
        raise UsageError("--store: the only store of this version is memory")
    return ServerSettings(
        listen=ListenSettings(
            addresses=options["listen"] or (DEFAULT_ADDRESS,),
            port=options["port"],
            backlog=options["backlog"],
            keepalive=options["keepalive"],
        ),
        bounds=ListenerSettings(
            max_packet_bytes=options["max_packet_size"],
            max_backlog_bytes=options["max_backlog_per_connection"],
        ),
        broker=_broker_settings(options),
        log=LogSettings(
            file=options["log_file"],
            level=options["verbose"] or _VERBOSITY_BY_COUNT[min(options["verbosity"], 3)],
            format=options["log_format"],
        ),
        pid_file=options["pid_file"],
        file_descriptors=options["file_descriptors"],
        supervised_fd=options["supervised_fd"],
        without_effect=tuple(name for option, name in _NO_EFFECT.items() if options[option] not in (None, False)),
    )


def _broker_settings(options: dict[str, Any]) -> BrokerSettings:
    prefix = options["job_handle_prefix"]
    return BrokerSettings(
        handle_prefix=prefix.encode() if prefix else default_handle_prefix(),
        job_retries=options["job_retries"],
        worker_wakeup=options["worker_wakeup"],
        exceptions=options["exceptions"],
    )


def _version_option() -> click.Option:
    def show(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
        if is_asked:
            click.echo(f"gearman-server {__version__}")
            context.exit(EXIT_OK)

    return click.Option(
        ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _end_before_the_loop_runs(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_OK)


def _fail(message: str) -> NoReturn:
    print(f"gearman-server: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_FAILURE)
