"""The command `user`: a line for the file of users, with a hashed password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from gearman_manager.command.context import mistakes_are_messages
from gearman_manager.errors import ManagerError

_ROLES: Final = ("viewer", "operator", "admin")


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
