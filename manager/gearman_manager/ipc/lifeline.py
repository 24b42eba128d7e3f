"""The lifeline while user code runs that may never come back: an import, a worker's setup.

Nobody looks at the descriptor meanwhile, so the kernel is asked to: the end of the pipe sends SIGIO, which ends the
process by default, whatever it is stuck in. Jobs are not cut off so: a worker that serves watches the lifeline itself.
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
    """As long as this lasts the end of the supervisor ends the process; without /proc it does not."""
    try:
        # Opened anew: owner and flags belong to the open file, and other processes of this manager share that.
        own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        if _has_ended(own):  # before anybody was told
            os.kill(os.getpid(), signal.SIGIO)
        yield
    finally:
        os.close(own)


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLHUP is always reported
    return bool(poll.poll(0))
