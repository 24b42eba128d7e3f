"""Starts a manager in the background. The command waits until it is up; if it fails, its exit code is the command's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

import click

from gearman_manager import exit_codes
from gearman_manager.host.process import describe_status
from gearman_process import background, early_signals
from gearman_process.background import StartingChild


def detach() -> Callable[[], None]:
    """Fork. The parent waits and exits; this returns in the child, with the function to call once it is up."""
    return background.detach(_wait, closes_inherited=True)


def _wait(child: StartingChild) -> int:
    """Returns the command's exit code: 0 once the manager is up, the manager's own if it failed. Passes on a Ctrl-C."""

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        os.kill(child.pid, signal.SIGTERM)

    for number in early_signals.ENDING:
        signal.signal(number, pass_on)
    if child.gets_up():
        return exit_codes.OK
    code = child.exit_code()
    if code > 0:
        return code  # it has printed the reason
    reason = "it was asked to stop" if code == 0 else describe_status(code)
    click.echo(f"gearman-manager: the manager ended before it was up: {reason}", err=True)
    return exit_codes.FAILURE
