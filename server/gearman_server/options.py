"""gearmand's options as a click command's parameters: names, ranges and help texts. No behaviour."""

from __future__ import annotations

from typing import Any, Final

import click

from gearman_server.listener import DEFAULT_MAX_BACKLOG_BYTES
from gearman_server.log import LEVELS

DEFAULT_ADDRESS: Final = "127.0.0.1"
DEFAULT_PORT: Final = 4730
DEFAULT_LISTEN_BACKLOG: Final = 1024

_MIB: Final = 1024 * 1024
_PROTOCOL_MAX_BYTES: Final = 2**32 - 1


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, **attributes)


_WHERE: Final = (
    _option(
        "-L",
        "--listen",
        multiple=True,
        is_flag=False,
        flag_value=DEFAULT_ADDRESS,
        metavar="[ADDRESS]",
        help=f"Address or name to listen on; may be repeated.  [default: {DEFAULT_ADDRESS}]",
    ),
    _option(
        "-p",
        "--port",
        type=click.IntRange(0, 65535),
        default=DEFAULT_PORT,
        envvar="GEARMAND_PORT",
        show_default=True,
        metavar="PORT",
        help="Port to listen on; 0 = any free one.",
    ),
    _option(
        "-b",
        "--backlog",
        type=click.IntRange(1),
        default=DEFAULT_LISTEN_BACKLOG,
        show_default=True,
        metavar="N",
        help="Connections that may wait to be accepted.",
    ),
    _option("--keepalive", is_flag=True, help="TCP keepalive on the listening sockets; connections always have it."),
)

_JOBS: Final = (
    _option(
        "-j",
        "--job-retries",
        type=click.IntRange(0, 255),
        metavar="N",
        help="Attempts a job gets before the loss of its worker makes it fail.  [default: no limit]",
    ),
    _option(
        "-w",
        "--worker-wakeup",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Sleeping workers woken for each job; 0 = all.  [default: 0]",
    ),
    _option("-R", "--round-robin", is_flag=True, help="Accepted; functions are always served in turn."),
    _option("--exceptions", is_flag=True, help="Send WORK_EXCEPTION to every client, asked for or not."),
    _option(
        "--job-handle-prefix", metavar="TEXT", help="What handles start with.  [default: H: and this machine's name]"
    ),
    _option(
        "--store",
        default="memory",
        envvar="GEARMAN_STORE_URL",
        show_default=True,
        show_envvar=False,
        metavar="URL",
        help="Where background jobs are kept.",
    ),
)

_BOUNDS: Final = (
    _option(
        "--max-packet-size",
        type=click.IntRange(1, _PROTOCOL_MAX_BYTES),
        default=256 * _MIB,
        show_default=True,
        metavar="BYTES",
        help="Bigger packets are refused and their connection is closed.",
    ),
    _option(
        "--max-backlog-per-connection",
        type=click.IntRange(1),
        default=DEFAULT_MAX_BACKLOG_BYTES,
        show_default=True,
        metavar="BYTES",
        help="A peer that leaves more than this unread is dropped.",
    ),
    _option(
        "-f", "--file-descriptors", type=click.IntRange(1), metavar="N", help="Open files, so connections, at most."
    ),
    _option("-t", "--threads", type=click.IntRange(0), metavar="N", help="Accepted; there is one event loop."),
)

_PROCESS: Final = (
    _option(
        "-l",
        "--log-file",
        default="stderr",
        show_default=True,
        metavar="FILE",
        help="Where the log goes; `stderr` and `none` are special.",
    ),
    _option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the log."
    ),
    _option("--verbose", type=click.Choice(list(LEVELS)), help="How much is logged.  [default: ERROR]"),
    _option("-v", "verbosity", count=True, help="Log more: -v NOTICE, -vv INFO, -vvv DEBUG."),
    _option("-P", "--pid-file", metavar="FILE", help="Write the process id there."),
    _option("--check-args", is_flag=True, hidden=True),
    _option("--supervised-fd", type=click.IntRange(0), hidden=True),
)

PARAMETERS: Final[list[click.Parameter]] = [*_WHERE, *_JOBS, *_BOUNDS, *_PROCESS]
