"""The `gearman` command: submits jobs from the command line or standard input, or runs any program as a worker (-w).

Options and output are those of the tool that comes with gearmand, without its defects: a failed connection and a
timeout lead to exit code 1, a denominator of zero is harmless, and -N removes a newline only where there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime

from gearman_client.commands.command_line import ExitCode, Parser, UsageError, add_server_options, run, server_addresses
from gearman_client.commands.fetching import fetch
from gearman_client.commands.submitting import Lines, Submission, submit_all
from gearman_client.commands.working import WorkOptions, work


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run("gearman", lambda: _run(sys.argv[1:] if arguments is None else list(arguments)))


def _run(arguments: list[str]) -> int:
    parser = _parser()
    options = _parse(parser, arguments)
    if options.help:
        parser.print_help()
        return ExitCode.SUCCESS
    if options.result is not None:
        return _fetch(options)
    if not options.functions:
        raise UsageError(f"no function given, name one with -f\n{parser.format_usage().rstrip()}")
    if options.timeout_ms == 0:
        raise UsageError("-t 0: expected a number of milliseconds above 0")
    if (options.at is not None or options.delay_s is not None) and not options.background:
        raise UsageError("--at and --delay are for background jobs: add -b")
    servers = server_addresses(options, os.environ)
    timeout_s = None if options.timeout_ms is None else options.timeout_ms / 1000
    lines: Lines | None = "strip" if options.stripped_lines else "keep" if options.lines else None
    if options.work:
        return work(servers, WorkOptions(options.functions, options.words, lines, options.count, timeout_s))
    submission = Submission(
        functions=options.functions,
        workloads=options.words,
        lines=lines,
        no_input=options.no_input,
        unique=options.unique,
        priority="high" if options.high else "low" if options.low else "normal",
        background=options.background,
        prefix=options.prefix,
        verbose=options.verbose,
        timeout_s=timeout_s,
        at=options.at,
        delay_s=options.delay_s,
    )
    return submit_all(servers, submission)


def _fetch(options: argparse.Namespace) -> int:
    if options.functions or options.work or options.background or options.words:
        raise UsageError("--result asks for an existing job: leave out -f, -w, -b and data")
    if not options.result:
        raise UsageError("--result: a job's handle is expected, such as H:box:1, which `gearman -b -v` prints")
    servers = server_addresses(options, os.environ)
    return fetch(servers, options.result, None if options.timeout_ms is None else options.timeout_ms / 1000)


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse the options, which may follow data. Everything after `--` is data (or the worker's command)."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_intermixed_args(arguments[:end])
    options.words += arguments[end + 1 :]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="gearman",
        add_help=False,
        usage="gearman [options] [DATA ...]\n       gearman -w [options] [-- COMMAND [ARGUMENT ...]]",
        description="Submit jobs to a Gearman job server, or work for it.",
        epilog="Without -h and -p the environment's GEARMAN_SERVERS counts: host:port, several separated by commas.",
    )
    parser.add_argument("words", nargs="*", metavar="DATA", help="a job each; without any, standard input is one job")
    both = parser.add_argument_group("client and worker")
    both.add_argument("-f", dest="functions", action="append", default=[], metavar="FUNCTION", help="may be repeated")
    add_server_options(both, long_names=False)
    both.add_argument("-t", dest="timeout_ms", type=_milliseconds, metavar="MS", help="give up after so long")
    both.add_argument("-n", dest="lines", action="store_true", help="one job (worker: WORK_DATA packet) per line")
    both.add_argument("-N", dest="stripped_lines", action="store_true", help="like -n, without the newline")
    both.add_argument("-H", "--help", dest="help", action="store_true", help="print this help")
    _add_client_options(parser.add_argument_group("client"))
    worker = parser.add_argument_group("worker")
    worker.add_argument("-w", dest="work", action="store_true", help="work: COMMAND gets the workload on its input")
    worker.add_argument("-c", dest="count", type=_count, metavar="COUNT", help="end after so many jobs")
    return parser


def _add_client_options(client: argparse._ArgumentGroup) -> None:
    client.add_argument("-b", dest="background", action="store_true", help="background: do not wait for results")
    client.add_argument("--delay", dest="delay_s", type=_seconds, metavar="SECONDS", help="with -b: not before then")
    client.add_argument("--at", type=_time, metavar="TIME", help="with -b: not before 2030-01-31T12:00")
    client.add_argument("--result", metavar="HANDLE", help="wait for a background job's kept result (-t 0: don't wait)")
    client.add_argument("-I", dest="high", action="store_true", help="high priority")
    client.add_argument("-L", dest="low", action="store_true", help="low priority")
    client.add_argument("-P", dest="prefix", action="store_true", help="write the function's name before its output")
    client.add_argument("-s", dest="no_input", action="store_true", help="empty workload, input is not read")
    client.add_argument("-u", dest="unique", metavar="UNIQUE", help="unique id; equal ids of a function are one job")
    client.add_argument("-v", dest="verbose", action="store_true", help="print the handles of jobs")


def _milliseconds(text: str) -> int:
    value = _whole(text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of milliseconds above 0")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected seconds from 0 up")
    return value


def _time(text: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a time such as 2030-01-31T12:00, or Unix seconds") from None


def _count(text: str) -> int:
    value = _whole(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
