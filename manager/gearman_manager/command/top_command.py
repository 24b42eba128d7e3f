"""The command `top`: the overview live in a terminal. Only it imports Textual, an optional part."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Final

import click

from gearman_manager import exit_codes
from gearman_manager.command.context import fail, folder_of_running, mistakes_are_messages

#: The manager sends at least a comment every 15 seconds.
SILENCE_S: Final = 20.0
_NO_TEXTUAL = "top needs Textual, which is not installed: pip install 'gearman-manager[top]'"
_NO_TERMINAL = "top needs a terminal that can move its cursor, and {what}; `gearman-manager status` needs none"


@click.command(short_help="Show pools and workers live, and steer them by keys.")
@click.pass_context
@mistakes_are_messages
def top(context: click.Context) -> None:
    """Show the running manager's pools live in this terminal: workers, queues, what is wrong, and why a pool has its
    size. Pools are scaled, paused and restarted by keys, workers replaced, jobs stopped; `?` shows all keys, `q` quits.

    The manager is found by its configuration: give the same -c as for its start, as the same user or as root.
    """
    from gearman_manager.command.control_client import request, stream
    from gearman_manager.top.feed import Calls

    if not all(each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr)):
        fail(_NO_TERMINAL.format(what="this is none"), exit_codes.FAILURE)
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        fail(_NO_TERMINAL.format(what=f"TERM is {os.environ.get('TERM') or 'not set'}"), exit_codes.FAILURE)
    try:
        from gearman_manager.top.app import Top
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        fail(_NO_TEXTUAL, exit_codes.FAILURE)
    socket = folder_of_running(context).socket
    request(socket, "GET", "/overview")  # it may not run, or belong to somebody else
    calls = Calls(partial(request, socket), partial(stream, socket, silence_s=SILENCE_S))
    Top(calls).run(mouse=False)  # so the terminal's own marking and copying still work
