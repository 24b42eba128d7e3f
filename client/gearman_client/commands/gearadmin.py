"""The `gearadmin` command: sends administration commands and prints the answers as the servers wrote them.

Options, their order and the output are those of the tool that comes with gearmand, but an error as an answer leads to
exit code 1. New are several servers at once, --json, tables on a terminal, and --watch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from gearman_client.commands.admin_actions import ACTIONS, Request, requests_of
from gearman_client.commands.admin_asking import AskedServer, ServerAnswers, ask_all
from gearman_client.commands.admin_views import json_lines, plain, tables
from gearman_client.commands.command_line import ExitCode, as_utf8, run, server_addresses, server_options
from gearman_client.commands.completion_scripts import variable_of
from gearman_client.commands.options import Given, Option, Sections, UsageError, help_text, read_options
from gearman_client.commands.streams import STDERR, STDOUT, write_all
from gearman_client.commands.terminal import is_terminal

TIMEOUT_S: Final = 10.0
USAGE: Final = "usage: gearadmin [options] ACTION ..."
#: The kind of value of each action, for a shell that completes it.
_COMPLETES: Final = {"FUNCTION": "function", "HANDLE": "handle"}
SECTIONS: Final[Sections] = (
    ("Job servers", server_options(long_names=True)),
    (
        "Actions",
        [Option("", each.option, each.value, each.text, _COMPLETES.get(each.value, "")) for each in ACTIONS],
    ),
    (
        "Output",
        (
            Option("", "json", "", "print a JSON object for each server, on a line of its own"),
            Option("", "watch", "", "ask again every 2 seconds, or so many; end with q or Ctrl-C", optional="SECONDS"),
            Option("", "help", "", "print this help"),
            Option("", "completion", "SHELL", "print the completion for bash, zsh or fish", "bash zsh fish"),
        ),
    ),
)
_CLOSING: Final = """\
Long names may be cut short. Without -h and -p the servers of the environment's GEARMAN_SERVERS count: HOST:PORT,
several separated by commas.

Examples:
  gearadmin --status
  gearadmin --watch 5 --status --workers
  gearadmin -h 10.0.0.1,10.0.0.2 --json --status --workers"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run("gearadmin", lambda: _run(as_utf8(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: Sequence[str]) -> int:
    if variable_of("gearadmin") in os.environ:
        from gearman_client.commands.completion import answer

        return answer("gearadmin", SECTIONS, arguments, os.environ)
    # getopt knows no optional value, so it is a word.
    given = read_options(SECTIONS, [part for each in arguments for part in _watch_and_word(each)])
    if "help" in given:
        write_all(STDOUT, help_text(USAGE, SECTIONS, _CLOSING).encode())
        return ExitCode.SUCCESS
    shell = given.last("completion")
    if shell is not None:
        from gearman_client.commands.completion import print_script

        return print_script("gearadmin", shell)
    if given.words and "watch" not in given:
        raise UsageError(f"{given.words[0]!r} is no option: actions begin with --, as in --status\n{USAGE}")
    requests = requests_of(given)
    if not requests:
        raise UsageError(f"nothing to do: name an action, such as --status\n{USAGE}")
    servers = [AskedServer(each, TIMEOUT_S) for each in server_addresses(given, os.environ)]
    as_json = "json" in given
    as_table = is_terminal(STDOUT) and not as_json

    def ask() -> list[ServerAnswers]:
        return ask_all(servers, requests, with_rows=as_json or as_table)

    try:
        if "watch" in given:
            return _watch(given, requests, ask, as_table=as_table)
        found = ask()
        _print(found, as_json=as_json, as_table=as_table)
    finally:
        for server in servers:
            server.close()
    return ExitCode.SUCCESS if all(each.is_good for each in found) else ExitCode.FAILURE


def _watch_and_word(argument: str) -> list[str]:
    return ["--watch", argument[8:]] if argument.startswith("--watch=") else [argument]


def _watch(given: Given, requests: Sequence[Request], ask: Callable[[], list[ServerAnswers]], *, as_table: bool) -> int:
    from gearman_client.commands.watching import interval_of, watch_in_blocks, watch_on_terminal

    interval_s = interval_of(given.words)
    changing = [f"--{request.action.option}" for request in requests if request.action.value]
    if changing:
        raise UsageError(f"--watch asks again and again: leave out {' '.join(changing)}")
    if as_table:
        title = " ".join(f"--{request.action.option}" for request in requests)
        return watch_on_terminal(ask, interval_s, f"gearadmin {title} every {interval_s:g} s")

    def write(found: list[ServerAnswers], time: str) -> None:
        if "json" in given:
            write_all(STDOUT, json_lines(found, time=time))
            return
        write_all(STDOUT, f"# {time}\n".encode())
        _print(found, as_json=False, as_table=False)

    return watch_in_blocks(ask, interval_s, write)


def _print(found: Sequence[ServerAnswers], *, as_json: bool, as_table: bool) -> None:
    if as_json:
        output, errors = json_lines(found), b""
    elif as_table:
        lines, errors = tables(found)
        output = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    else:
        output, errors = plain(found)
    write_all(STDOUT, output)
    write_all(STDERR, errors)


if __name__ == "__main__":
    sys.exit(main())
