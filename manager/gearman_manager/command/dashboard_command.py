"""The command `dashboard`: where the dashboard of the running manager is. It starts nothing."""

from __future__ import annotations

import sys

import click

from gearman_manager import exit_codes
from gearman_manager.command.context import ask, fail, mistakes_are_messages

_SWITCHED_OFF = """the dashboard is switched off. Write into {file}

  control:
    listen: 127.0.0.1:4731
    token_file: control.token      # openssl rand -hex 16 > control.token
    users_file: users              # gearman-manager user NAME --role admin --file users

(a token or users, or both), then: gearman-manager reload"""


@click.command(short_help="Say where the dashboard is, or open it.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser on this machine.")
@click.pass_context
@mistakes_are_messages
def dashboard(context: click.Context, opens: bool) -> None:
    """Print the address of the running manager's dashboard. Nothing is started: the manager itself serves it.

    Without `control.listen` there is none; the command then says how to switch it on, and ends with 1. Log in with a
    user of `control.users_file`, or without a name and with a token as the password.
    """
    url = ask(context, "GET", "/dashboard")["url"]
    if url is None:
        fail(_SWITCHED_OFF.format(file=context.obj), exit_codes.FAILURE)
    click.echo(url)
    if opens:
        import webbrowser

        if not webbrowser.open(url):
            click.echo("no browser can be started here", err=True)
            sys.exit(exit_codes.FAILURE)
