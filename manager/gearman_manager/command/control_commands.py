"""The commands that change or inspect a running manager: `health`, `scale`, `restart`, `pause`, `resume`, `reload`,
`logs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote, urlencode

import click

from gearman_manager.command.completion import pools, pools_and_workers, pools_or_functions
from gearman_manager.command.context import ask, folder_of_running, mistakes_are_messages
from gearman_manager.command.control_client import NotRunning, stream
from gearman_manager.errors import ManagerError


class _Size(click.ParamType[tuple[int, int]]):
    """`N` or `MIN..MAX`."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        low, dots, high = str(value).partition("..")
        try:
            minimum = int(low)
            return minimum, int(high) if dots else minimum
        except ValueError:
            self.fail(f"{value!r} is no size: write a number of workers, as 4, or a range, as 2..8", param, context)


@click.command(short_help="Say whether all is well; exit with 1 if not.")
@click.pass_context
@mistakes_are_messages
def health(context: click.Context) -> None:
    """Say in one line how the running manager is, and exit with 1 if not all is well.

    All is well while every pool can keep its workers, and every job server answers and can do all of its work: one that
    can't write its store refuses background jobs. For health checks of containers and for monitoring.
    """
    click.echo(ask(context, "GET", "/health")["health"])


@click.command(short_help="Give a pool another size, until a reload.")
@click.argument("pool", shell_complete=pools)
@click.argument("size", type=_Size())
@click.pass_context
@mistakes_are_messages
def scale(context: click.Context, pool: str, size: tuple[int, int]) -> None:
    """Give POOL another SIZE, until the configuration is loaded anew.

    SIZE is a number of workers, or a range within which the pool follows its queue. Workers that are too many finish
    their jobs before they go.

    \b
    Examples:
      gearman-manager scale email 4
      gearman-manager scale email 2..20
    """
    minimum, maximum = size
    ask(context, "POST", f"/pools/{quote(pool, safe='')}/scale", {"min": minimum, "max": maximum})
    click.echo(f"{pool}: {minimum}..{maximum} workers")


@click.command(short_help="Replace workers, one after the other.")
@click.argument("pool", required=False, shell_complete=pools)
@click.pass_context
@mistakes_are_messages
def restart(context: click.Context, pool: str | None) -> None:
    """Replace the workers of POOL, or of all pools, one after the other.

    Each finishes its job, and its successor is there before it goes. For changed code no restart is needed: it is
    noticed by itself.
    """
    ask(context, "POST", "/restart" + (f"?pool={quote(pool)}" if pool else ""))
    click.echo(f"restarting {pool or 'all pools'}")


_pool_or_functions = click.argument(
    "subject", metavar="POOL | function NAME...", nargs=-1, required=True, shell_complete=pools_or_functions
)


def _paths(subject: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names and the paths of a pool, or of functions."""
    if len(subject) == 1:
        yield subject[0], f"/pools/{quote(subject[0], safe='')}"
    elif subject[0] != "function":
        raise click.UsageError("write one pool, or the word function and names of functions")
    else:
        for name in subject[1:]:
            yield name, f"/functions/{quote(name, safe='')}"


def _post(context: click.Context, subject: Sequence[str], path: str) -> None:
    """Ask for the change. The word function alone is a pool, if there is one of that name."""
    try:
        ask(context, "POST", path)
    except NotRunning:
        raise
    except ManagerError as error:
        if tuple(subject) == ("function",):
            name = context.info_name
            text = f"which function? Write its name behind the word, as in: gearman-manager {name} function send_email"
            raise click.UsageError(text) from error
        raise


@click.command(short_help="Let a pool take no further jobs, or start none of a function.")
@_pool_or_functions
@click.pass_context
@mistakes_are_messages
def pause(context: click.Context, subject: tuple[str, ...]) -> None:
    """Let POOL's workers finish their jobs and take no others; or have the job servers start no job of a function.

    What is submitted waits until `gearman-manager resume`. A function is paused for all workers of the job servers,
    also those of other machines, and stays so after a restart of a server with a durable store.

    \b
    Examples:
      gearman-manager pause email
      gearman-manager pause function send_email send_sms
    """
    for name, path in _paths(subject):
        _post(context, subject, f"{path}/pause")
        click.echo(f"{name} is paused")


@click.command(short_help="Let a paused pool or function go on.")
@_pool_or_functions
@click.pass_context
@mistakes_are_messages
def resume(context: click.Context, subject: tuple[str, ...]) -> None:
    """Let a paused POOL go on: it starts workers, and they take the jobs that wait. Or a function that is paused, or
    held by its brake.

    \b
    Examples:
      gearman-manager resume email
      gearman-manager resume function send_email send_sms
    """
    for name, path in _paths(subject):
        _post(context, subject, f"{path}/resume")
        click.echo(f"{name} goes on")


@click.command(short_help="Take over a changed configuration.")
@click.pass_context
@mistakes_are_messages
def reload(context: click.Context) -> None:
    """Load configuration and code anew, as a SIGHUP does. Running jobs are not touched.

    It returns at once. What is wrong with the new ones is in `status` and in the log; the old ones go on then. For
    changed code alone this is not needed: it is noticed by itself.
    """
    ask(context, "POST", "/reload")
    click.echo("reloading")


@click.command(short_help="Show what workers print and log.")
@click.argument("subject", metavar="[POOL[/N]]", required=False, shell_complete=pools_and_workers)
@click.option("--job", metavar="HANDLE", help="Only the lines about this job.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
@click.pass_context
@mistakes_are_messages
def logs(context: click.Context, subject: str | None, job: str | None, follow: bool) -> None:
    """Show what the manager and its workers print and log: of all, of one POOL, or of one worker POOL/N.

    With --job it is what one job has logged, and what the manager said of it.

    The manager keeps the last 2000 lines for this, wherever its log goes.

    \b
    Examples:
      gearman-manager logs
      gearman-manager logs email -f
      gearman-manager logs email/3
      gearman-manager logs --job H:mail.example.com:4711
    """
    given = {"of": subject, "job": job}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    if not follow:
        for line in ask(context, "GET", f"/logs?{query}"):
            click.echo(line)
        return
    try:
        for line in stream(folder_of_running(context).socket, f"/logs?follow=1&{query}"):
            click.echo(line)
    except KeyboardInterrupt:
        return
    raise ManagerError("the manager ended")


COMMANDS: Final = (health, scale, restart, pause, resume, reload, logs)
