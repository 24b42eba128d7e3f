"""The `gearman-server` command: options into settings, errors into one line and gearmand's exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

import click

from gearman_client.address import parse_address
from gearman_client.errors import AddressError
from gearman_process import early_signals
from gearman_process.values.escaping import escape_line
from gearman_server.broker_settings import BrokerSettings
from gearman_server.command import import_command
from gearman_server.command.config_file import with_config_file
from gearman_server.command.listen_options import allowed, http_hosts, port_settings, tls_settings
from gearman_server.command.options import PARAMETERS
from gearman_server.command.queue_options import WITHOUT_EFFECT, idle_options, store_url
from gearman_server.compiled.choosing import CHOICE
from gearman_server.edge.own_addresses import this_machine
from gearman_server.edge.settings import ListenerSettings
from gearman_server.errors import PolicyFileError, ServerError, UsageError
from gearman_server.jobs.access import AccessList
from gearman_server.jobs.dead_letters import DeadLetterBounds
from gearman_server.jobs.kept_results import ResultBounds
from gearman_server.policy_file.loading import read_policies
from gearman_server.process.log_handlers import LogSettings
from gearman_server.process.main import ProcessSettings, run
from gearman_server.server import Server, ServerSettings, default_handle_prefix
from gearman_server.stores.settings import MEMORY, ClusterSettings, StoreSettings
from gearman_server.version import __version__

EXIT_OK: Final = 0
EXIT_FAILURE: Final = 1

#: What servers can share.
_SHAREABLE: Final = "--store postgresql+psycopg://… or mysql+pymysql://…"

_VERBOSITY_BY_COUNT: Final = ("ERROR", "NOTICE", "INFO", "DEBUG")
_NO_EFFECT: Final = {
    "threads": "-t",
    "round_robin": "-R",
    "hashtable_buckets": "--hashtable-buckets",
    "coredump": "--coredump",
    **WITHOUT_EFFECT,
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 after a clean end, 1 after any error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_import = words[:1] == [import_command.NAME]
    if is_import:
        early_signals.let_go()
    command = import_command.command() if is_import else _server_command()
    try:
        command.main(args=words[1:] if is_import else words, standalone_mode=False)
    except click.Abort:
        _fail("interrupted")
    except click.ClickException as error:
        _fail(f"{error.format_message()} (gearman-server --help lists the options)")
    except PolicyFileError as error:
        _fail(*error.problems)
    except ServerError as error:
        _fail(str(error))
    sys.exit(EXIT_OK)


def _server_command() -> click.Command:
    return click.Command(
        "gearman-server",
        params=[*PARAMETERS, _version_option()],
        callback=_start,
        help="A Gearman job server. Serves until SIGTERM, SIGINT or SIGQUIT; SIGUSR1 lets running jobs end first."
        " `gearman-server import --help`: taking over the jobs of gearmand's persistent queue.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _start(**given: Any) -> None:
    if CHOICE.trouble is not None:
        raise UsageError(CHOICE.trouble)
    if not given["bundled"]:  # a bundled server leaves its end to its manager
        _obey_signals()
    options = with_config_file(click.get_current_context(), given)
    settings, process = settings_of(options), process_settings_of(options)
    _say(*idle_options(options))
    if not options["check_args"]:
        run(Server(settings=settings), process)


def settings_of(options: dict[str, Any]) -> ServerSettings:
    """What the parsed options say about the server.

    Raises:
        UsageError: options that can't be carried out.
    """
    return ServerSettings(
        ports=port_settings(options),
        tls=tls_settings(options),
        bounds=ListenerSettings(
            max_packet_bytes=options["max_packet_size"],
            max_backlog_bytes=options["max_backlog_per_connection"],
            allowed=allowed(options),
            http_hosts=http_hosts(options),
        ),
        broker=_broker_settings(options),
        store=_store_settings(options),
        policies=read_policies(options["policies"]) if options["policies"] is not None else None,
    )


def process_settings_of(options: dict[str, Any]) -> ProcessSettings:
    """What the parsed options say about the process."""
    return ProcessSettings(
        log=LogSettings(
            file="none" if options["daemon"] and options["log_file"] == "stderr" else options["log_file"],
            level=options["verbose"] or _VERBOSITY_BY_COUNT[min(options["verbosity"], 3)],
            format=options["log_format"],
            syslog=options["syslog"],
        ),
        daemon=options["daemon"],
        user=options["user"],
        pid_file=options["pid_file"],
        file_descriptors=options["file_descriptors"],
        supervised_fd=options["supervised_fd"],
        is_bundled=options["bundled"],
        listening_fds=options["listening_fds"],
        without_effect=tuple(name for option, name in _NO_EFFECT.items() if options[option] not in (None, False)),
    )


def _broker_settings(options: dict[str, Any]) -> BrokerSettings:
    prefix = options["job_handle_prefix"]
    return BrokerSettings(
        handle_prefix=prefix.encode() if prefix else default_handle_prefix(),
        job_retries=options["job_retries"],
        worker_wakeup=options["worker_wakeup"],
        exceptions=options["exceptions"],
        admin_allow=_administrators(options["admin_allow"]),
        allow_shutdown=options["allow_shutdown"],
        dead_letters=DeadLetterBounds(
            options["dead_letters"], options["dead_letters_size"], options["dead_letters_age"]
        ),
        results=ResultBounds(options["results"], options["results_size"], options["result_data"]),
        finished_jobs=options["finished_jobs"],
    )


def _store_settings(options: dict[str, Any]) -> StoreSettings | None:
    url = store_url(options)
    name = options["cluster"]
    if url == MEMORY:
        if name is not None:
            raise UsageError(f"--cluster {name}: jobs in memory can't be shared: {_SHAREABLE}")
        return None
    from gearman_server.stores.engine import parse_url  # SQL is loaded only where there is a store for it

    if parse_url(url).get_backend_name() == "sqlite" and name is not None:
        raise UsageError(f"--cluster {name}: a SQLite file has one server: {_SHAREABLE}")
    cluster = None
    if name is not None:
        cluster = ClusterSettings(name, options["lease"], address=_announced(options["announce"]))
    return StoreSettings(url, options["store_timeout"], cluster)


def _announced(text: str | None) -> str:
    """The address that the servers of a cluster are told; empty: that where this one listens."""
    try:
        return "" if text is None else str(parse_address(text))
    except AddressError as error:
        raise UsageError(f"--announce: {error}") from error


def _administrators(networks: Sequence[str]) -> AccessList:
    if not networks:
        return this_machine()
    try:
        return AccessList.of(networks)
    except ValueError as error:
        raise UsageError(f"--admin-allow: {error}; write an address or a network such as 10.0.0.0/8") from error


def _version_option() -> click.Option:
    def show(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
        if is_asked:
            click.echo(f"gearman-server {__version__}, {CHOICE.describe()}")
            context.exit(EXIT_OK)

    return click.Option(
        ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _obey_signals() -> None:
    """End on a signal until the loop handles it: there is nothing to finish yet."""
    for number in early_signals.ENDING:
        signal.signal(number, _end_before_the_loop_runs)
    if early_signals.take(early_signals.ENDING):
        sys.exit(EXIT_OK)


def _end_before_the_loop_runs(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_OK)


def _fail(*messages: str) -> NoReturn:
    _say(*messages)
    sys.exit(EXIT_FAILURE)


def _say(*messages: str) -> None:
    for message in messages:
        print(f"gearman-server: {escape_line(' '.join(message.split()))}", file=sys.stderr)
