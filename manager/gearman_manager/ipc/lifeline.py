"""The lifeline: a pidfd of the supervisor, which all its children hold. It becomes readable when the supervisor ends.

Nobody can write into it, so nothing but that end comes out of it. A serving worker watches it itself. While user code
runs that may never return (an import, a worker's setup), the kernel watches for processes that the supervisor has
started; a forked worker in its setup is ended by its zygote.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def own_lifeline() -> int:
    """A lifeline to this process, for its children."""
    return os.pidfd_open(os.getpid())


def has_ended(lifeline: int, timeout_s: float = 0.0) -> bool:
    """Whether the supervisor has ended, or does so within this time."""
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


@contextmanager
def ends_with_supervisor(lifeline: int) -> Iterator[None]:
    """In this context the end of the supervisor kills the process, wherever it is stuck.

    Only for a process that the supervisor has started itself: for others the kernel would watch another parent.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    try:
        if has_ended(lifeline):  # it ended before the kernel watched
            os.kill(os.getpid(), signal.SIGKILL)
        yield
    finally:
        prctl(_PR_SET_PDEATHSIG, 0)
