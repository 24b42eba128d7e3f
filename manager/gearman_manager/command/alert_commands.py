"""The command `alerts`: tries the targets that are told of troubles."""

from __future__ import annotations

import socket
import sys
import time

import click

from gearman_manager import exit_codes
from gearman_manager.command.context import fail, load_config, mistakes_are_messages
from gearman_process.values.escaping import escape_line


@click.group(short_help="Try those who are told of troubles.")
def alerts() -> None:
    """Alerts: the configuration's section `alerts` says who is told of which troubles."""


@alerts.command(short_help="Send a test message to each target.")
@click.pass_context
@mistakes_are_messages
def test(context: click.Context) -> None:
    """Send a test message to each target of the configuration's section `alerts.to`, and say what became of it.

    The manager need not run. It ends with 1 if a target did not take the message, or if there is none.

    \b
    Example: gearman-manager alerts test
    """
    from gearman_manager.alerts.named_targets import targets_of
    from gearman_manager.alerts.ways import Undelivered, deliver
    from gearman_manager.alerts.wording import trial

    config = load_config(context)
    targets = targets_of(config)
    if not targets:
        fail("nobody is told: name a mail, webhook or command in alerts.to", exit_codes.FAILURE)
    message = trial(f"gearman-manager on {socket.gethostname()}", time.time())
    has_failed = False
    for target in targets:
        try:
            deliver(target, message)
        except Undelivered as error:
            has_failed = True
            click.echo(escape_line(f"{target.title}: failed: {error}"))
        else:
            click.echo(escape_line(f"{target.title}: sent"))
    sys.exit(exit_codes.FAILURE if has_failed else exit_codes.OK)
