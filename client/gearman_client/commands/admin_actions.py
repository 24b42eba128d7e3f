"""What `gearadmin` can ask a job server for: each option with its text command, in the order of Debian's tool.

That tool carries its actions out in one order, whatever the order of its options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gearman_client.admin.admin import AdminClient
from gearman_client.admin.tables import (
    parse_connected_worker,
    parse_function_hold,
    parse_function_status,
    parse_priority_status,
    parse_server,
    parse_shown_job,
)
from gearman_client.commands.options import Given, UsageError
from gearman_client.text import to_text

#: What ends a word of a text command.
_WORD_BREAKS: Final = frozenset(" \r\n\0")


@dataclass(frozen=True, slots=True)
class Action:
    """One option that does something.

    key: its name in JSON. command: the text command, with {} for the value. value: the value's name; empty for a
    question. row: how to read a line of the answer, if that is a table. none: what is wrong if the answer is `OK 0`.
    """

    option: str
    key: str
    command: str
    text: str
    value: str = ""
    row: Callable[[bytes], Any] | None = None
    none: bytes = b""


# gearmand cuts two bytes off the end of `create function` because it expects CR LF.
ACTIONS: Final = (
    Action("getpid", "pid", "getpid", "the server's process id"),
    Action("create-function", "create_function", "create function {}\r", "make a function known", "NAME"),
    Action("drop-function", "drop_function", "drop function {}", "forget a function", "FUNCTION"),
    Action("pause-function", "pause_function", "pause function {}", "start no more of its jobs", "FUNCTION"),
    Action("resume-function", "resume_function", "resume function {}", "start its jobs again", "FUNCTION"),
    Action("holds", "holds", "holds", "functions that are paused, or held by a brake", row=parse_function_hold),
    Action("servers", "servers", "servers", "the servers of the cluster", row=parse_server),
    Action("show-jobs", "jobs", "show jobs", "all jobs", row=parse_shown_job),
    Action("show-unique-jobs", "unique_ids", "show unique jobs", "the unique ids of all jobs", row=to_text),
    Action("cancel-job", "cancel_job", "cancel job {}", "cancel a job", "HANDLE"),
    Action("stop-job", "stop_job", "stop job {}", "stop a job, also while it runs", "HANDLE", none=b"UNKNOWN_JOB\r\n"),
    Action("server-verbose", "log_level", "verbose", "the server's log level"),
    Action("server-version", "version", "version", "the server's version"),
    Action("workers", "workers", "workers", "connections with their functions", row=parse_connected_worker),
    Action(
        "priority-status", "priority_status", "prioritystatus", "waiting jobs by priority", row=parse_priority_status
    ),
    Action("status", "status", "status", "jobs, running jobs and workers by function", row=parse_function_status),
)


@dataclass(frozen=True, slots=True)
class Request:
    """An action of the command line, and its value."""

    action: Action
    value: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's bytes. `refusal` is the text behind ERR of an answer that says so, as bytes with its line end.

    rows: the lines of a table as values, if they were asked for.
    """

    request: Request
    data: bytes
    refusal: bytes | None = None
    rows: Sequence[Any] = ()


def ask(client: AdminClient, request: Request, *, with_rows: bool) -> Answer:
    """Send a request and return the answer.

    Raises:
        AdminError, ConnectionLost, Timeout, ArgumentError: as `AdminClient.command`; a line of a table makes no sense.
    """
    data = client.command(request.action.command.format(request.value))
    if data.startswith(b"ERR ") and data.endswith(b"\r\n"):
        return Answer(request, data, data[4:])
    if request.action.none and data == b"OK 0\n":
        return Answer(request, data, request.action.none)
    row = request.action.row
    if row is None or not with_rows:
        return Answer(request, data)
    return Answer(request, data, None, [row(line) for line in data.split(b"\n")[:-2]])


def requests_of(given: Given) -> list[Request]:
    """The actions of a command line, in the order in which they are carried out.

    Raises:
        UsageError: a value can't be part of a text command.
    """
    requests = [Request(action, value) for action in ACTIONS for value in given.all(action.option)]
    for request in requests:
        value = request.value
        if request.action.value and (not value or not _WORD_BREAKS.isdisjoint(value)):
            raise UsageError(f"--{request.action.option} {value!r}: it must not be empty or hold a blank or a line end")
    return requests
