"""Commands that change a running manager, or look into it: `scale`, `restart`, `pause`, `resume`, `reload`, `logs`."""

from urllib.parse import quote

import click

from gearman_manager.command_context import ask, folder_of_running, mistakes_are_messages
from gearman_manager.control_client import stream
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


@click.command()
@click.argument("pool")
@click.argument("size", type=_Size())
@click.pass_context
@mistakes_are_messages
def scale(context: click.Context, pool: str, size: tuple[int, int]) -> None:
    """Give POOL another SIZE, N or MIN..MAX, until the configuration is loaded anew."""
    minimum, maximum = size
    ask(context, "POST", f"/pools/{quote(pool, safe='')}/scale", {"min": minimum, "max": maximum})
    click.echo(f"{pool}: {minimum}..{maximum} workers")


@click.command()
@click.argument("pool", required=False)
@click.pass_context
@mistakes_are_messages
def restart(context: click.Context, pool: str | None) -> None:
    """Replace the workers of POOL (default: of all pools) one after the other; running jobs are finished."""
    ask(context, "POST", "/restart" + (f"?pool={quote(pool)}" if pool else ""))
    click.echo(f"restarting {pool or 'all pools'}")


@click.command()
@click.argument("pool")
@click.pass_context
@mistakes_are_messages
def pause(context: click.Context, pool: str) -> None:
    """Let POOL's workers finish their jobs and take no others; what is submitted waits."""
    ask(context, "POST", f"/pools/{quote(pool, safe='')}/pause")
    click.echo(f"{pool} is paused")


@click.command()
@click.argument("pool")
@click.pass_context
@mistakes_are_messages
def resume(context: click.Context, pool: str) -> None:
    """Let a paused POOL go on."""
    ask(context, "POST", f"/pools/{quote(pool, safe='')}/resume")
    click.echo(f"{pool} goes on")


@click.command()
@click.pass_context
@mistakes_are_messages
def reload(context: click.Context) -> None:
    """Load configuration and code anew, as a HUP does; `status` says what became of it."""
    ask(context, "POST", "/reload")
    click.echo("reloading")


@click.command()
@click.argument("subject", metavar="[POOL[/N]]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
@click.pass_context
@mistakes_are_messages
def logs(context: click.Context, subject: str | None, follow: bool) -> None:
    """Show what workers print and log: of all, of one POOL, or of one worker POOL/N."""
    query = f"of={quote(subject)}" if subject else ""
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


COMMANDS = (scale, restart, pause, resume, reload, logs)
