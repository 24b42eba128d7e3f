"""Going to the background: the command returns once the manager is up, or with the code and message of its failure.

Forks before anything has made a thread, an event loop or a descriptor that the child should not have.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import click

from gearman_manager import exit_codes
from gearman_manager.host.process import describe_status

_UP: Final = b"+"
_STANDARD: Final = (0, 1, 2)
#: Beyond any number that a shell or a service manager leaves open by mistake.
_MAX_INHERITED: Final = 4096


def detach() -> Callable[[], None]:
    """Fork. The parent waits and exits; this returns in the child, with what it is to call once it is up.

    Until then the child's messages go where the command's would. The working directory stays.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(write_end)
        sys.exit(_wait(child, read_end))
    os.setsid()
    os.closerange(max(_STANDARD) + 1, write_end)
    os.closerange(write_end + 1, _MAX_INHERITED)

    def say_up() -> None:
        _leave_the_terminal()
        os.write(write_end, _UP)
        os.close(write_end)

    return say_up


def _wait(child: int, read_end: int) -> int:
    """The command's exit code: that of a manager that failed, 0 for one that is up. A Ctrl-C here is meant for it."""

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    if os.read(read_end, 1) == _UP:
        return exit_codes.OK
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code > 0:
        return code  # it has said why
    reason = "it was asked to stop" if code == 0 else describe_status(code)
    click.echo(f"gearman-manager: the manager ended before it was up: {reason}", err=True)
    return exit_codes.FAILURE


def _leave_the_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(nowhere, standard)
    os.close(nowhere)
