"""The command `outbox`: hands rows of a program's database to the job servers, lists and changes those set aside."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from gearman_client.errors import ArgumentError
from gearman_client.text import to_body
from gearman_manager.command.context import load_config, mistakes_are_messages, takes_config
from gearman_manager.command.job_commands import Duration
from gearman_manager.errors import ManagerError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from gearman_client.address import Address

#: The environment variable with the URL, which keeps a password out of lists of processes.
URL_VARIABLE: Final = "GEARMAN_OUTBOX_URL"
#: As in the client library's `outbox.schema`, which would be loaded, and the client with it, for each command.
_TABLE: Final = "gearman_outbox"
_MOST_POLL_S: Final = 10.0


class _Outbox(click.Group):
    """`outbox URL` means `outbox relay URL`."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if arguments and arguments[0] not in self.commands and arguments[0] not in ("-h", "-H", "--help"):
            arguments = ["relay", *arguments]
        elif not arguments and os.environ.get(URL_VARIABLE):
            arguments = ["relay"]
        return super().parse_args(context, arguments)


def _url(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("url", envvar=URL_VARIABLE)(command)


def _table(command: Callable[..., Any]) -> Callable[..., Any]:
    text = "The table, with a schema before it if need be."
    option = click.option("--table", default=_TABLE, show_default=True, metavar="NAME", callback=_name, help=text)
    return option(command)


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    from gearman_client.outbox.schema import check_table

    try:
        return check_table(value)
    except ArgumentError as error:
        raise click.BadParameter(str(error)) from error


@click.group("outbox", cls=_Outbox, short_help="Hand jobs from a program's database to the job servers.")
def outbox() -> None:
    """Hand the background jobs that a program has written into its own database to the job servers, each once.

    URL is that of the database: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://…; without it the
    environment variable GEARMAN_OUTBOX_URL counts. `outbox URL` is the same as `outbox relay URL`.
    """


@outbox.command(short_help="Hand rows over, until Ctrl-C.")
@_url
@click.option("--servers", metavar="HOST:PORT,…", help="The job servers, instead of those named below.")
@_table
@click.option(
    "--poll", type=Duration(), default="50ms", show_default=True, metavar="DURATION", help="How often to look for rows."
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    metavar="N",
    help="How often a row is tried again that a job server refuses for the time being.",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve figures for Prometheus here.")
@click.pass_context
@mistakes_are_messages
def relay(context: click.Context, /, url: str, **options: Any) -> None:
    """Hand the rows of the table gearman_outbox to the job servers, until Ctrl-C or SIGTERM.

    The job servers are those of --servers, else of the configuration if -c is given, else of GEARMAN_SERVERS, which a
    pool of the manager sets, else the one on this machine. They have to be gearman-servers.

    \b
    Examples:
      gearman-manager outbox sqlite:///shop.db
      gearman-manager -c config.yaml outbox postgresql://shop@db/shop
    """
    from gearman_manager.outbox import process
    from gearman_manager.outbox.settings import RelaySettings

    try:
        metrics = None if options["metrics"] is None else _listen(options["metrics"])
        addresses = _servers(context, options["servers"])
    except ArgumentError as error:
        raise ManagerError(str(error)) from error
    poll_s = min(options["poll"], _MOST_POLL_S)
    settings = RelaySettings(addresses, options["table"], poll_s, options["retries"], metrics=metrics)
    process.run(url, settings)


def _listen(text: str) -> Address:
    from gearman_client.address import parse_address

    host, _, port = text.rpartition(":")
    address = parse_address(f"{host}:1" if port == "0" else text)  # 0: any free port
    return replace(address, port=0) if port == "0" else address


def _servers(context: click.Context, given: str | None) -> tuple[Address, ...]:
    from gearman_client.address import default_servers, parse_addresses

    if given is not None:
        return parse_addresses(given)
    root = context.find_root()
    is_default = root.get_parameter_source("config") is click.core.ParameterSource.DEFAULT
    if not is_default or context.obj != root.params["config"]:  # before the command's name, or after it
        return parse_addresses([server.reached_by for server in load_config(context).job_servers])
    return parse_addresses(default_servers(os.environ))


takes_config(relay)


@outbox.command(short_help="Make the table.")
@_url
@_table
@mistakes_are_messages
def create(url: str, table: str) -> None:
    """Make the table and its indexes, if they are not there. Programs with migrations make it there."""
    from gearman_client.outbox.schema import create_statements

    with _opened(url, table) as (connection, _):
        for statement in create_statements(connection.dialect.name, table):
            connection.exec_driver_sql(statement)
    click.echo(f"{table} is there")


@outbox.command("list", short_help="List rows: what waits, what is set aside and why.")
@_url
@click.argument("function", required=False)
@click.option("--aside", is_flag=True, help="Only rows that are set aside.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Lines at most.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@_table
@mistakes_are_messages
def list_rows(url: str, function: str | None, aside: bool, limit: int, as_json: bool, table: str) -> None:
    """List the rows of the table, of all functions or of FUNCTION, the oldest first."""
    from gearman_manager.outbox import listing

    with _opened(url, table) as (connection, rows):
        found = listing.rows_of(connection, rows, function=function, only_aside=aside, limit=limit)
    if as_json:
        shown = [{**row, "workload_start": to_body(row["workload_start"]).decode(errors="replace")} for row in found]
        click.echo(json.dumps(shown, indent=2))
    elif found:
        _show(found)
    else:
        click.echo("there is no such row", err=True)


@outbox.command(short_help="Try rows again that are set aside.")
@_url
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "all_rows", is_flag=True, help="All of them.")
@click.option(
    "--anywhere", is_flag=True, help="Also rows that a job server may have taken: each may become a second job."
)
@_table
@mistakes_are_messages
def retry(url: str, ids: tuple[int, ...], all_rows: bool, anywhere: bool, table: str) -> None:
    """Have rows that are set aside tried again; `list --aside` shows their numbers and the reasons."""
    from gearman_manager.outbox import listing

    if bool(ids) == all_rows:
        raise click.UsageError("name the rows' numbers, or give --all")
    wanted = None if all_rows else ids
    with _opened(url, table) as (connection, rows):
        count = listing.retry(connection, rows, wanted, anywhere=anywhere)
        left = 0 if anywhere else listing.doubtful(connection, rows, wanted)
    click.echo(f"{count} are tried again")
    if left:
        click.echo(
            f"{left} not, because a job server may have them already: look there, then --anywhere, or `drop`", err=True
        )
    if ids and count < len(ids):
        sys.exit(1)


@outbox.command(short_help="Delete rows that are set aside.")
@_url
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@_table
@mistakes_are_messages
def drop(url: str, ids: tuple[int, ...], table: str) -> None:
    """Delete rows that are set aside. Their jobs are not submitted any more."""
    from gearman_manager.outbox import listing

    with _opened(url, table) as (connection, rows):
        count = listing.drop(connection, rows, ids)
    if count < len(ids):
        raise ManagerError(f"{count} of {len(ids)} deleted: there are no others of these that are set aside")
    click.echo(f"{count} deleted")


@contextmanager
def _opened(url: str, table: str) -> Iterator[tuple[Connection, Table]]:
    """A transaction, and the table. Errors of the database become messages."""
    from gearman_manager.outbox.database import TROUBLES, Database, is_missing_table, parse_url, reason_of
    from gearman_manager.outbox.relay import missing_table
    from gearman_manager.outbox.table import OutboxTable

    database = Database(parse_url(url))
    try:
        with database.transaction() as connection:
            yield connection, OutboxTable(table, "").rows
    except TROUBLES as failure:
        if is_missing_table(failure):
            raise ManagerError(missing_table(database.name, table)) from failure
        raise ManagerError(f"{database.name}: {reason_of(failure)}") from failure
    finally:
        database.close()


def _show(found: Sequence[dict[str, Any]]) -> None:
    from time import time

    from rich.table import Table as View
    from rich.text import Text

    from gearman_manager.command.status_view import wide_console
    from gearman_manager.command.words import printed
    from gearman_process.values.durations import rough_duration

    view = View("id", "function", "key", "state", "age", "attempts", "server", "reason", box=None)
    now_ms = time() * 1000
    for row in found:
        state = "aside" if row["is_aside"] else "sending" if row["relay"] else "waiting"
        age = rough_duration(max(0.0, now_ms - row["created_ms"]) / 1000) if row["created_ms"] else ""
        cells = (
            row["id"],
            row["function_name"],
            row["order_key"],
            state,
            age,
            row["attempts"],
            row["server"],
            row["reason"],
        )
        view.add_row(*(Text(printed("" if cell is None else str(cell))) for cell in cells))
    wide_console().print(view)
