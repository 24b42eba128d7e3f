"""The `gearman` command: submits jobs from the command line or standard input, or runs any program as a worker (-w).

Options and output are those of the tool that comes with gearmand, without its defects: a failed connection and a
timeout lead to exit code 1, a denominator of zero is harmless, and -N removes a newline only where there is one.

Shells run this command in loops, so what only some of its options need is imported when they are used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from gearman_client.client.submission import Priority
from gearman_client.commands.command_line import ExitCode, as_path, as_utf8, path_of, run, server_addresses
from gearman_client.commands.completion_scripts import variable_of
from gearman_client.commands.detaching import detach, pid_file
from gearman_client.commands.gearman_options import (
    SECTIONS,
    USAGE,
    count,
    gearman_help,
    job_options,
    milliseconds,
    window,
)
from gearman_client.commands.job_report import Output
from gearman_client.commands.options import Given, UsageError, read_options
from gearman_client.commands.plain_output import PlainOutput
from gearman_client.commands.streams import STDOUT, write_all
from gearman_client.commands.submitting import Lines, Submission, fetch, submit_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run("gearman", lambda: _run(as_utf8(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: Sequence[str]) -> int:
    if variable_of("gearman") in os.environ:
        from gearman_client.commands.completion import answer

        return answer("gearman", SECTIONS, arguments, os.environ)
    given = read_options(SECTIONS, arguments)
    if "help" in given:
        write_all(STDOUT, gearman_help().encode())
        return ExitCode.SUCCESS
    shell = given.last("completion")
    if shell is not None:
        from gearman_client.commands.completion import print_script

        return print_script("gearman", shell)
    body = _worker(given) if "w" in given else _client(given)
    if "d" in given:
        detach()
    with pid_file(path_of(given, "i")):
        return body()


def _worker(given: Given) -> Callable[[], int]:
    from gearman_client.commands.working import WorkOptions, check_command, work

    options = WorkOptions(
        _functions(given),
        [as_path(word) for word in given.words],
        _lines(given),
        count(given.last("c")),
        _timeout_s(given),
    )
    servers = server_addresses(given, os.environ)
    check_command(options.command)
    return lambda: work(servers, options)


def _client(given: Given) -> Callable[[], int]:
    if "map" in given:
        return _mapping(given)
    body = _fetching(given) if "result" in given else _submitting(given)
    output = _output(given)

    def write_and_close() -> int:
        try:
            return body(output)
        finally:
            output.close()

    return write_and_close


def _mapping(given: Given) -> Callable[[], int]:
    from gearman_client.commands.line_mapping import MapRequest, map_lines

    functions = _functions(given)
    unwanted = [name for name in ("n", "N", "s", "result") if name in given]
    if len(functions) > 1 or given.words or unwanted:
        raise UsageError(
            "--map makes a job of each line of a file, for one function: leave out data, -n, -N, -s, --result"
        )
    if given.last("u") not in (None, "", "-"):
        raise UsageError(
            "--map with one unique id would be one job: only -u - is possible, equal lines are one job then"
        )
    request = MapRequest(
        function=functions[0],
        path=path_of(given, "map") or "-",
        done=path_of(given, "done"),
        window=window(given.last("window")),
        unique=given.last("u") or None,
        background="b" in given,
        prefix="P" in given,
        handles="v" in given,
        as_json="json" in given,
        timeout_s=_timeout_s(given),
        options={"priority": _priority(given), **job_options(given)},
    )
    servers = server_addresses(given, os.environ)
    return lambda: map_lines(servers, request)


def _submitting(given: Given) -> Callable[[Output], int]:
    submission = Submission(
        functions=_functions(given),
        workloads=given.words,
        lines=_lines(given),
        no_input="s" in given,
        unique=given.last("u"),
        background="b" in given,
        timeout_s=_timeout_s(given),
        options={"priority": _priority(given), **job_options(given)},
    )
    if "done" in given or "window" in given:
        raise UsageError("--done and --window belong to --map")
    if "submission" in submission.options and (submission.lines or len(given.words) > 1):
        raise UsageError("--option submission: with one for all of them, many jobs would be one")
    servers = server_addresses(given, os.environ)
    return lambda output: submit_all(servers, submission, output)


def _fetching(given: Given) -> Callable[[Output], int]:
    handle = given.last("result")
    if "f" in given or "b" in given or given.words:
        raise UsageError("--result asks for an existing job: leave out -f, -w, -b and data")
    if not handle:
        raise UsageError("--result: a job's handle is expected, such as H:box:1, which `gearman -b -v` prints")
    servers = server_addresses(given, os.environ)
    timeout_ms = milliseconds(given.last("t"))
    return lambda output: fetch(servers, handle, None if timeout_ms is None else timeout_ms / 1000, output)


def _output(given: Given) -> Output:
    if "json" in given:
        from gearman_client.commands.json_output import JsonOutput

        return JsonOutput()
    return PlainOutput(prefix="P" in given, handles="v" in given, in_order="b" in given or "result" in given)


def _functions(given: Given) -> Sequence[str]:
    functions = given.all("f")
    if not functions:
        raise UsageError(f"no function given, name one with -f\n{USAGE}")
    return functions


def _priority(given: Given) -> Priority:
    """That of the last option that names one."""
    names = [name for name, _ in given.in_order if name in ("I", "L")]
    return "normal" if not names else "high" if names[-1] == "I" else "low"


def _lines(given: Given) -> Lines | None:
    return "strip" if "N" in given else "keep" if "n" in given else None


def _timeout_s(given: Given) -> float | None:
    timeout_ms = milliseconds(given.last("t"))
    if timeout_ms == 0:
        raise UsageError("-t 0: expected a number of milliseconds above 0")
    return None if timeout_ms is None else timeout_ms / 1000


if __name__ == "__main__":
    sys.exit(main())
