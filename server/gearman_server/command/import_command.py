"""`gearman-server import`: takes the jobs over that gearmand has left in its SQLite, MySQL or PostgreSQL table.

The jobs are committed to our store as a whole before the first row is taken away from gearmand's table.
"""

from __future__ import annotations

from typing import Any, Final

import click

from gearman_server.command.listen_options import option
from gearman_server.command.parameter_types import Word
from gearman_server.errors import UsageError
from gearman_server.jobs.job_table import cut_handle_prefix
from gearman_server.server import default_handle_prefix
from gearman_server.stores.settings import MEMORY, read_url_file

NAME: Final = "import"

_PARAMETERS: Final[list[click.Parameter]] = [
    option(
        "--from",
        "source",
        envvar="GEARMAN_IMPORT_URL",
        required=True,
        metavar="URL",
        help="gearmand's database: sqlite:///FILE, postgresql+psycopg://… or mysql+pymysql://….  [$GEARMAN_IMPORT_URL]",
    ),
    option("--table", metavar="NAME", help="Its table.  [default: gearman_queue; queue in PostgreSQL]"),
    option(
        "--store",
        default=MEMORY,
        envvar="GEARMAN_STORE_URL",
        metavar="URL",
        help="Our store, as for the server, which must not run meanwhile.  [$GEARMAN_STORE_URL]",
    ),
    option("--store-url-file", metavar="FILE", help="Read that URL from a file."),
    option(
        "--job-handle-prefix",
        type=Word(),
        metavar="TEXT",
        help="What the jobs' handles start with, as for the server.",
    ),
    option("--keep", is_flag=True, help="Leave the rows in gearmand's table."),
]


def command() -> click.Command:
    """The command, to be run with what stands behind its name."""
    return click.Command(
        f"gearman-server {NAME}",
        params=list(_PARAMETERS),
        callback=_import,
        help="Take over the jobs of gearmand's persistent queue. Neither server may run meanwhile.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _import(**options: Any) -> None:
    from gearman_server.importing.gearmand_queue import GearmandQueue  # SQL is loaded for this alone
    from gearman_server.importing.import_jobs import import_jobs
    from gearman_server.stores.engine import parse_url

    file = options["store_url_file"]
    target = read_url_file(file) if file is not None else options["store"]
    if target == MEMORY:
        raise UsageError("import needs --store URL: where the jobs are to be kept")
    prefix = options["job_handle_prefix"]
    handle_prefix = cut_handle_prefix(prefix.encode() if prefix else default_handle_prefix())
    queue = GearmandQueue(parse_url(options["source"], "--from"), options["table"])
    count, left = import_jobs(queue, parse_url(target), handle_prefix, keeps=options["keep"])
    for reason in left:
        click.echo(f"left in {queue.name}: {reason}", err=True)
    click.echo(f"{count} jobs are taken over from {queue.name}")
