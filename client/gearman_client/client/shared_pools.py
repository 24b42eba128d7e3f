"""The server pools of one client. Each request has one of its own while it lasts, so that any number may be under way:
in threads and greenlets, from a callback, in a signal handler.

After a fork the child begins with new connections, and closes its descriptors of the old ones, which are its parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gearman_client.client.server_pool import ServerPool

#: Connections beyond these are closed after their request: a crowd of threads leaves no crowd of connections.
MAX_IDLE: Final = 32


class SharedPools:
    """Lends server pools, and keeps them for the next request.

    A list's `append` and `pop` are each one step for other threads and for signal handlers, so this needs no lock.
    """

    def __init__(self, new_pool: Callable[[], ServerPool]) -> None:
        self._new_pool = new_pool
        self._pid = os.getpid()
        #: The pools that no request has; the one used last is last, and the next to be lent.
        self._idle: list[ServerPool] = []

    @contextmanager
    def lend(self) -> Iterator[ServerPool]:
        """A pool that nobody else has, for one request."""
        if os.getpid() != self._pid:
            self._begin_anew()
        idle = self._idle
        try:
            pool = idle.pop()
        except IndexError:
            pool = self._new_pool()
        try:
            yield pool
        finally:
            # Closed or forked meanwhile: then it belongs to nobody's next request.
            if idle is self._idle and os.getpid() == self._pid and len(idle) < MAX_IDLE:
                idle.append(pool)
            else:
                pool.close()

    def close(self) -> None:
        """Close the pools that no request has; those of requests under way are closed at their end."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        idle, self._idle, self._pid = self._idle, [], os.getpid()
        for pool in idle:
            pool.close()
