"""Going to the background: the command forks, waits until its child is ready, and exits with the child's result.

Fork before the process has a thread, an event loop, or a descriptor that the child should not have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_UP: Final = b"+"
_STANDARD: Final = (0, 1, 2)
#: Above any descriptor that a shell or a service manager leaves open by mistake.
_MAX_INHERITED: Final = 4096


class StartingChild:
    """The child, as the waiting command sees it."""

    def __init__(self, pid: int, read_end: int) -> None:
        self.pid = pid
        self._read_end = read_end

    def gets_up(self) -> bool:
        """Wait until it is ready (True), or has ended before that (False)."""
        return os.read(self._read_end, 1) == _UP

    def exit_code(self) -> int:
        """Wait until it has ended; a negative code is the signal that killed it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def detach(wait: Callable[[StartingChild], int], *, closes_inherited: bool = False) -> Callable[[], None]:
    """Fork. The parent exits with the code that `wait` returns; the call returns in the child, in a new session.

    The child calls the returned function once it is ready. Until then it writes to the command's standard streams. The
    working directory stays.

    Args:
        wait: called in the parent.
        closes_inherited: in the child, close all inherited descriptors except the standard ones.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write_end)
        _exit(wait(StartingChild(pid, read_end)))
    os.setsid()
    os.close(read_end)
    if closes_inherited:
        os.closerange(max(_STANDARD) + 1, write_end)
        os.closerange(write_end + 1, _MAX_INHERITED)

    def say_up() -> None:
        _leave_the_terminal()
        os.write(write_end, _UP)
        os.close(write_end)

    return say_up


def _exit(code: int) -> None:
    """Exit without the handlers that the child, a copy of this process, will run at its own end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # nobody reads it, or it was closed from the start and is None
            stream.flush()
    os._exit(code)


def _leave_the_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(nowhere, standard)
    os.close(nowhere)
