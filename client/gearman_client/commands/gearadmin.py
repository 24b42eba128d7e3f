"""The `gearadmin` command: sends administration commands and prints the answers as the server wrote them.

Options and output are those of the tool that comes with gearmand, with two differences: actions run in the given order,
and an error as an answer leads to exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from gearman_client.admin.admin import AdminClient, connect_admin
from gearman_client.commands.command_line import ExitCode, Parser, UsageError, add_server_options, run, server_addresses
from gearman_client.errors import AdminError

CONNECT_TIMEOUT_S: Final = 10.0

_PLAIN: Final[dict[str, tuple[str, str]]] = {
    "--status": ("status", "functions with their jobs, running jobs and workers"),
    "--priority-status": ("prioritystatus", "functions with their waiting jobs by priority, and workers"),
    "--workers": ("workers", "connections with their functions"),
    "--show-jobs": ("show jobs", "all jobs"),
    "--show-unique-jobs": ("show unique jobs", "the unique ids of all jobs"),
    "--server-version": ("version", "the server's version"),
    "--server-verbose": ("verbose", "the server's log level"),
    "--getpid": ("getpid", "the server's process id"),
}
_ON_NAME: Final[dict[str, tuple[Callable[[AdminClient, str], None], str, str]]] = {
    "--create-function": (AdminClient.create_function, "FUNCTION", "make a function known"),
    "--drop-function": (AdminClient.drop_function, "FUNCTION", "forget a function"),
    "--cancel-job": (AdminClient.cancel_job, "HANDLE", "cancel a job"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run("gearadmin", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.help:
        parser.print_help()
        return ExitCode.SUCCESS
    if not options.actions:
        raise UsageError(f"nothing to do\n{parser.format_usage().rstrip()}")
    (server, *_) = server_addresses(options, os.environ)
    failed = False
    with connect_admin(server, CONNECT_TIMEOUT_S) as client:
        for option, value in options.actions:
            failed |= not _act(client, option, value)
    return ExitCode.FAILURE if failed else ExitCode.SUCCESS


def _act(client: AdminClient, option: str, value: str | None) -> bool:
    """Run one action; False if the server refused it."""
    try:
        answer = client.command(_PLAIN[option][0]) if value is None else _act_on_name(client, option, value)
        if answer.startswith(b"ERR ") and answer.endswith(b"\r\n"):
            raise AdminError(answer[4:].decode("utf-8", "replace").strip())
    except AdminError as error:
        print(f"Error: {error}", file=sys.stderr)
        return False
    sys.stdout.buffer.write(answer.removeprefix(b"OK "))
    return True


def _act_on_name(client: AdminClient, option: str, value: str) -> bytes:
    _ON_NAME[option][0](client, value)
    return b"OK\n"


class _AppendAction(argparse.Action):
    """Collects the actions in the order of the command line."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        value = values if isinstance(values, str) else None
        namespace.actions = [*namespace.actions, (self.option_strings[0], value)]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="gearadmin", add_help=False, allow_abbrev=False, description="Ask and instruct a job server.")
    parser.set_defaults(actions=[])
    add_server_options(parser, long_names=True)
    for option, (_, text) in _PLAIN.items():
        parser.add_argument(option, nargs=0, action=_AppendAction, dest="actions", help=text)
    for option, (_, metavar, text) in _ON_NAME.items():
        parser.add_argument(option, action=_AppendAction, dest="actions", metavar=metavar, help=text)
    parser.add_argument("--help", action="store_true", help="print this help")
    return parser


if __name__ == "__main__":
    sys.exit(main())
