"""gearmand's options about its persistent queues, and which of our stores each of them chooses.

gearmand's own tables are left alone: `gearman-server import` takes their rows over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gearman_server.command.listen_options import option
from gearman_server.errors import UsageError
from gearman_server.stores.settings import MEMORY, read_url_descriptor, read_url_file

QUEUE_OPTIONS: Final = (
    option(
        "-q",
        "--queue-type",
        metavar="TYPE",
        help="gearmand's way to choose a store: builtin (memory), libsqlite3, mysql, libdrizzle or postgres, with the"
        " options of that name.",
    ),
    option("--libsqlite3-db", metavar="FILE", help="The file of -q libsqlite3."),
    *(
        option(f"--{name}-{what}", metavar=metavar, help=f"{text} of -q {queue}.")
        for name, queue in (("mysql", "mysql"), ("libdrizzle", "libdrizzle"))
        for what, metavar, text in (
            ("host", "HOST", "The host"),
            ("port", "PORT", "The port"),
            ("user", "USER", "The user"),
            ("password", "TEXT", "The password, if not in $GEARMAN_STORE_PASSWORD,"),
            ("db", "NAME", "The database"),
        )
    ),
    option("--libdrizzle-uds", metavar="FILE", help="The Unix socket of -q libdrizzle."),
    option("--libpq-conninfo", metavar="TEXT", help="libpq's connection string, for -q postgres."),
    *(
        option(name, hidden=True)
        for name in ("--libsqlite3-table", "--mysql-table", "--libdrizzle-table", "--libpq-table")
    ),
    option("--libdrizzle-mysql", is_flag=True, hidden=True),
    option("--store-queue-on-shutdown", is_flag=True, hidden=True),
)

#: Options that mean something to gearmand's tables alone.
WITHOUT_EFFECT: Final = {
    "libsqlite3_table": "--libsqlite3-table",
    "mysql_table": "--mysql-table",
    "libdrizzle_table": "--libdrizzle-table",
    "libdrizzle_mysql": "--libdrizzle-mysql",
    "libpq_table": "--libpq-table",
    "store_queue_on_shutdown": "--store-queue-on-shutdown",
}
_PASSWORD_VARIABLE: Final = "GEARMAN_STORE_PASSWORD"


def store_url(options: Mapping[str, Any]) -> str:
    """The URL of the store that the options choose, with absolute paths.

    Raises:
        UsageError: they choose two, or none that we have.
    """
    queue = (options["queue_type"] or "").lower()
    by_url = _by_url(options)
    if queue in ("", "builtin"):
        return _absolute(by_url)
    if by_url != MEMORY:
        raise UsageError("-q and --store both choose a store: leave one of them out")
    choose = _CHOICES.get(queue)
    if choose is None:
        known = ", ".join(_CHOICES)
        raise UsageError(f"-q {options['queue_type']}: there is no such store here: builtin, {known}, or --store URL")
    return choose(options)


def _by_url(options: Mapping[str, Any]) -> str:
    if options["store_url_fd"] is not None:
        return read_url_descriptor(options["store_url_fd"])
    if options["store_url_file"] is not None:
        return read_url_file(options["store_url_file"])
    return str(options["store"])


def idle_options(options: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each queue that has options, though `-q` does not choose it. gearmand is silent about that."""
    chosen = (options["queue_type"] or "").lower()
    for queue, names in _OPTIONS.items():
        idle = next((name for name in names if options[name]), None)
        if idle is not None and queue != chosen:
            option_name = "--" + idle.replace("_", "-")
            yield f"{option_name} has no effect without -q {queue}: no job is kept there"


def _absolute(url: str) -> str:
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    return prefix + os.path.abspath(path) if path != url and path and path != ":memory:" else url


def _sqlite(options: Mapping[str, Any]) -> str:
    if not options["libsqlite3_db"]:
        raise UsageError("-q libsqlite3 needs --libsqlite3-db FILE")
    return f"sqlite:///{os.path.abspath(options['libsqlite3_db'])}"


def _mysql(options: Mapping[str, Any]) -> str:
    return _mysql_url(options, "mysql", {"host": "localhost", "port": "3306"})


def _drizzle(options: Mapping[str, Any]) -> str:
    return _mysql_url(options, "libdrizzle", {"host": "localhost", "port": "3306", "db": "gearman"})


def _mysql_url(options: Mapping[str, Any], name: str, defaults: Mapping[str, str]) -> str:
    from sqlalchemy.engine import URL

    def given(what: str) -> str | None:
        return options[f"{name}_{what}"] or defaults.get(what)

    if not given("db"):
        raise UsageError(f"-q {name} needs --{name}-db NAME")
    port = given("port") or ""
    if not port.isdigit():
        raise UsageError(f"--{name}-port {port}: that is no port")
    url = URL.create(
        "mysql+pymysql",
        username=given("user"),
        password=given("password") or os.environ.get(_PASSWORD_VARIABLE),
        host=given("host"),
        port=int(port),
        database=given("db"),
    )
    if name == "libdrizzle" and options["libdrizzle_uds"]:
        url = url.update_query_dict({"unix_socket": options["libdrizzle_uds"]})
    return url.render_as_string(hide_password=False)


def _postgresql(options: Mapping[str, Any]) -> str:
    from sqlalchemy.engine import URL

    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise UsageError("-q postgres needs psycopg: pip install 'gearman-manager[postgresql]'") from None
    try:
        given: dict[str, Any] = {
            name: str(value) for name, value in conninfo_to_dict(options["libpq_conninfo"] or "").items()
        }
    except ProgrammingError as error:
        raise UsageError(f"--libpq-conninfo: {' '.join(str(error).split())}") from None
    host, port = given.pop("host", None), given.pop("port", None)
    if host is not None and port is not None and "," in port:  # one for each of several hosts
        given["host"] = tuple(map(":".join, zip(host.split(","), port.split(","), strict=False)))
        host = port = None
    if port is not None and not port.isdigit():
        raise UsageError(f"--libpq-conninfo: port {port}: that is no port")
    url = URL.create(
        "postgresql+psycopg",
        username=given.pop("user", None),
        password=given.pop("password", None) or os.environ.get(_PASSWORD_VARIABLE),
        host=host,
        port=None if port is None else int(port),
        database=given.pop("dbname", None),
        query=given,
    )
    return url.render_as_string(hide_password=False)


_CHOICES: Final = {"libsqlite3": _sqlite, "mysql": _mysql, "libdrizzle": _drizzle, "postgres": _postgresql}

#: The options that say where a queue is.
_OPTIONS: Final = {
    "libsqlite3": ("libsqlite3_db",),
    "mysql": ("mysql_db", "mysql_host"),
    "libdrizzle": ("libdrizzle_db", "libdrizzle_host", "libdrizzle_uds"),
    "postgres": ("libpq_conninfo",),
}
