"""Going to the background: the command returns once the server is ready, with 1 when it could not start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_READY: Final = b"+"


def detach() -> Callable[[], None]:
    """Fork. The parent waits and exits; this returns in the child, with what it is to call when it is ready.

    Until then the child's messages go where the command's would. No event loop may have been made before.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        _wait_and_exit(read_end)
    os.close(read_end)
    os.setsid()

    def say_ready() -> None:
        _leave_the_terminal()
        os.write(write_end, _READY)
        os.close(write_end)

    return say_ready


def _wait_and_exit(read_end: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    is_ready = os.read(read_end, 1) == _READY
    sys.stdout.flush()
    os._exit(0 if is_ready else 1)


def _leave_the_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
