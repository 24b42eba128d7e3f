"""Watches the lifeline while user code runs that may never return: an import, a worker's setup.

The process can't look at the descriptor meanwhile, so the kernel does: the end of the pipe sends SIGIO, which ends the
process by default, wherever it is stuck. Jobs are not cut off this way: a serving worker watches the lifeline itself.
(PDEATHSIG would fire for workers whose zygote is replaced.)
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_with_supervisor(lifeline: int) -> Iterator[None]:
    """In this context the end of the supervisor ends the process, except without /proc."""
    try:
        # A new open file: owner and flags belong to it, and other processes of this manager share the inherited one.
        own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        if _has_ended(own):  # it ended before the kernel watched
            os.kill(os.getpid(), signal.SIGIO)
        yield
    finally:
        os.close(own)


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLHUP is always reported
    return bool(poll.poll(0))
