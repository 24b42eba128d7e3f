"""gearmand's options as a click command's parameters: names, ranges and help texts. No behaviour.

Those about addresses, TLS, HTTP and metrics are in `listen_options`.
"""

from __future__ import annotations

from typing import Final

import click

from gearman_server.cluster.members import DEFAULT_LEASE_S, MAX_LEASE_S, MIN_LEASE_S
from gearman_server.command.listen_options import LISTEN_OPTIONS, option
from gearman_server.command.parameter_types import WholeNumber, Word
from gearman_server.command.queue_options import QUEUE_OPTIONS
from gearman_server.edge.settings import DEFAULT_MAX_BACKLOG_BYTES
from gearman_server.jobs.dead_letters import DEFAULT_BOUNDS
from gearman_server.jobs.kept_results import DEFAULT_BOUNDS as DEFAULT_RESULT_BOUNDS
from gearman_server.log import LEVELS

DEFAULT_CONFIG_FILE: Final = "/etc/gearmand.conf"

_MIB: Final = 1024 * 1024
_PROTOCOL_MAX_BYTES: Final = 2**32 - 1


_JOBS: Final = (
    option(
        "-j",
        "--job-retries",
        type=WholeNumber(-1, 255),
        metavar="N",
        help="Attempts a job gets before the loss of its worker makes it fail; -1 = no limit.  [default: -1]",
    ),
    option(
        "--policies",
        metavar="FILE",
        help="YAML file: what becomes of each function's jobs (`functions:`), and jobs that are submitted by the clock"
        " (`schedules:`). Reread on SIGHUP.",
    ),
    option(
        "-w",
        "--worker-wakeup",
        type=WholeNumber(0),
        default=0,
        metavar="N",
        help="Sleeping workers woken for each job; 0 = all.  [default: 0]",
    ),
    option("-R", "--round-robin", is_flag=True, help="Accepted; functions are always served in turn."),
    option("--exceptions", is_flag=True, help="Send WORK_EXCEPTION to every client, asked for or not."),
    option(
        "--dead-letters",
        type=WholeNumber(0),
        default=DEFAULT_BOUNDS.max_count,
        show_default=True,
        metavar="N",
        help="Background jobs that failed for good and are kept; 0 = none.",
    ),
    option(
        "--dead-letters-size",
        type=WholeNumber(0),
        default=DEFAULT_BOUNDS.max_bytes,
        show_default=True,
        metavar="BYTES",
        help="What they may take in memory, about.",
    ),
    option(
        "--dead-letters-age",
        type=click.FloatRange(0),
        default=DEFAULT_BOUNDS.max_age_s,
        show_default=True,
        metavar="SECONDS",
        help="How long they are kept.",
    ),
    option(
        "--results",
        type=WholeNumber(0),
        default=DEFAULT_RESULT_BOUNDS.max_count,
        show_default=True,
        metavar="N",
        help="Results of background jobs that are kept, for functions with keep_result; 0 = none.",
    ),
    option(
        "--results-size",
        type=WholeNumber(0),
        default=DEFAULT_RESULT_BOUNDS.max_bytes,
        show_default=True,
        metavar="BYTES",
        help="What they may take in memory, about.",
    ),
    option(
        "--result-data",
        type=WholeNumber(0),
        default=DEFAULT_RESULT_BOUNDS.max_report_bytes,
        show_default=True,
        metavar="BYTES",
        help="Data and warnings on the way that are kept of each of these jobs.",
    ),
    option(
        "--finished-jobs",
        type=WholeNumber(0),
        default=0,
        show_default=True,
        metavar="N",
        help="Ends of attempts that are kept in memory for the text command `jobs finished`, half of them for those"
        " that are no success; 0 = none.",
    ),
    option(
        "--job-handle-prefix",
        type=Word(),
        metavar="TEXT",
        help="What handles start with.  [default: H: and this machine's name]",
    ),
    option(
        "--store",
        default="memory",
        envvar="GEARMAN_STORE_URL",
        show_default=True,
        show_envvar=False,
        metavar="URL",
        help="Where background jobs are kept: memory, sqlite:///FILE, postgresql+psycopg://… or mysql+pymysql://….",
    ),
    option(
        "--store-url-file",
        metavar="FILE",
        help="Read that URL from a file, so that no list of processes shows a password in it.",
    ),
    option("--store-url-fd", type=WholeNumber(0), hidden=True),
    option(
        "--store-timeout",
        type=click.FloatRange(0.1, 3600),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a submitter waits at most for its job to be stored.",
    ),
)

_CLUSTER: Final = (
    option(
        "--cluster",
        type=Word(),
        metavar="NAME",
        help="Share the store with all servers that have the same store and this name: when one dies, the others take"
        " over its jobs. The store has to be in PostgreSQL, MariaDB or MySQL.",
    ),
    option(
        "--lease",
        type=click.FloatRange(MIN_LEASE_S, MAX_LEASE_S),
        default=DEFAULT_LEASE_S,
        show_default=True,
        metavar="SECONDS",
        help="How long a server of the cluster may be silent before the others take over its jobs.",
    ),
    option(
        "--announce",
        type=Word(),
        metavar="ADDRESS",
        help="Where others reach this server of a cluster.  [default: where it listens]",
    ),
)

_ADMINISTRATION: Final = (
    option(
        "--admin-allow",
        multiple=True,
        metavar="CIDR",
        help="Network or address whose text commands may change something (cancel, create, drop, maxqueue, dead retry,"
        " dead drop, jobs purge, shutdown);"
        " may be repeated.  [default: this machine]",
    ),
    option("--allow-shutdown", is_flag=True, help="Know the text command `shutdown`; without this it is unknown."),
)

_BOUNDS: Final = (
    option(
        "--max-packet-size",
        type=WholeNumber(1, _PROTOCOL_MAX_BYTES),
        default=256 * _MIB,
        show_default=True,
        metavar="BYTES",
        help="Bigger packets are refused and their connection is closed.",
    ),
    option(
        "--max-backlog-per-connection",
        type=WholeNumber(1),
        default=DEFAULT_MAX_BACKLOG_BYTES,
        show_default=True,
        metavar="BYTES",
        help="A peer that leaves more than this unread is dropped.",
    ),
    option("-f", "--file-descriptors", type=WholeNumber(1), metavar="N", help="Open files, so connections, at most."),
    option("-t", "--threads", type=WholeNumber(0), metavar="N", help="Accepted; there is one event loop."),
    option("--hashtable-buckets", type=WholeNumber(1), hidden=True),
)

_PROCESS: Final = (
    option(
        "-l",
        "--log-file",
        default="stderr",
        show_default=True,
        metavar="FILE",
        help="Where the log goes; `stderr` and `none` are special.",
    ),
    option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the log."
    ),
    option("--verbose", type=click.Choice(list(LEVELS)), help="How much is logged.  [default: ERROR]"),
    option("-v", "verbosity", count=True, help="Log more: -v NOTICE, -vv INFO, -vvv DEBUG."),
    option("-P", "--pid-file", metavar="FILE", help="Write the process id there."),
    option("--syslog", is_flag=True, help="Log to the system's log as well."),
    option("-d", "--daemon", is_flag=True, help="Go to the background; the command ends once the server is ready."),
    option("-u", "--user", metavar="USER", help="Run as this user; the ports are taken before. Needs root."),
    option(
        "--config-file",
        metavar="FILE",
        help=f"Options to be read first, in the command line's words; '' = none.  [default: {DEFAULT_CONFIG_FILE}]",
    ),
    option("--check-args", is_flag=True, help="Check the options, start nothing."),
    option("--coredump", is_flag=True, hidden=True),
    option("--supervised-fd", type=WholeNumber(0), hidden=True),
    option("--bundled", is_flag=True, hidden=True),
    option("--listening-fd", "listening_fds", metavar="PURPOSE=FD", multiple=True, hidden=True),
)

PARAMETERS: Final[list[click.Parameter]] = [
    *LISTEN_OPTIONS,
    *_JOBS,
    *QUEUE_OPTIONS,
    *_CLUSTER,
    *_ADMINISTRATION,
    *_BOUNDS,
    *_PROCESS,
]
