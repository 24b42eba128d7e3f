"""The commands `dashboard` and `user`: where the dashboard of the running manager is, and who may use it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from gearman_manager import exit_codes
from gearman_manager.command.context import ask, fail, mistakes_are_messages
from gearman_manager.errors import ManagerError

_ROLES: Final = ("viewer", "operator", "admin")
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


@click.command(short_help="Make a user of the dashboard and the API.")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="viewer",
    show_default=True,
    help="viewer looks, operator changes pools and jobs, admin reloads and stops too.",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the user into this file, in the place of one of the same name.  [default: print the line]",
)
@click.option("--no-password", is_flag=True, help="For users whom a trusted proxy names.")
@mistakes_are_messages
def user(name: str, role: str, file: Path | None, no_password: bool) -> None:
    """Make a user of the dashboard and of the control API's TCP address, for `control.users_file`.

    The password is asked for, twice and without an echo, or read as one line from standard input. After a change of the
    file `gearman-manager reload` takes it over.

    \b
    Example:
      gearman-manager user alice --role operator --file users
    """
    from gearman_manager.access.caller import ROLES
    from gearman_manager.access.users_file import make_user, write_user

    password = "" if no_password else _password()
    if not password and not no_password:
        raise ManagerError("a password is expected; --no-password makes a user without one")
    made = make_user(name, ROLES[role], password)
    if file is None:
        click.echo(made.line)
        return
    try:
        write_user(file, made)
    except OSError as error:
        raise ManagerError(f"{file} can't be written: {error.strerror}") from error
    click.echo(f"{name} is in {file}, as {role}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True))
