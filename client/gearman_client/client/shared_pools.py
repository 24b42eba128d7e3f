"""The server pools of one client. Each request has one of its own while it lasts, so that any number may be under way:
in threads and greenlets, from a callback, in a signal handler.

After a fork the child begins with new connections, and closes its descriptors of the old ones, which are its parent's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from gearman_client import exclusive
from gearman_client.client.server_pool import ServerPool

#: Connections beyond these are closed after their request: a crowd of threads leaves no crowd of connections.
MAX_IDLE: Final = 32


class SharedPools:
    """Lends server pools, and keeps them for the next request.

    A list's `append` and `pop` are each one step for other threads and for signal handlers, so this needs no lock.
    """

    def __init__(self, new_pool: Callable[[], ServerPool], close_others: Callable[[], object]) -> None:
        """`close_others` closes what the pools have in common."""
        self._new_pool = new_pool
        self._close_others = close_others
        self._forks = exclusive.forks
        #: The pools that no request has; the one used last is last, and the next to be lent.
        self._idle: list[ServerPool] = []
        _all.add(self)

    def lend(self) -> Loan:
        """A pool that nobody else has, for one request: `with pools.lend() as pool`."""
        return Loan(self)

    def take(self) -> tuple[list[ServerPool], ServerPool]:
        """A pool, and the list to which it belongs."""
        if self._forks != exclusive.forks:
            self._begin_anew()
        idle = self._idle
        try:
            pool = idle.pop()
        except IndexError:
            return idle, self._new_pool()
        pool.refresh()
        return idle, pool

    def give_back(self, idle: list[ServerPool], pool: ServerPool) -> None:
        """Keep the pool for the next request; if all was closed meanwhile, or the process forked, close it."""
        if idle is self._idle and self._forks == exclusive.forks and len(idle) < MAX_IDLE:
            idle.append(pool)
        else:
            pool.close()

    def close(self) -> None:
        """Close the pools that no request has; those of requests under way are closed at their end."""
        self._begin_anew()
        self._close_others()

    def _begin_anew(self) -> None:
        idle, self._idle, self._forks = self._idle, [], exclusive.forks
        for pool in idle:
            pool.close()


#: Those of all clients of this process.
_all: Final[WeakSet[SharedPools]] = WeakSet()


def close_idle() -> None:
    """Close the idle connections of all clients, because new ones lead elsewhere: tests do so, with a stand-in."""
    for pools in list(_all):
        pools.close()


class Loan:
    """One request's use of a pool. Written out, because `contextmanager` costs a tenth of a short request."""

    __slots__ = ("_idle", "_pool", "_pools")

    def __init__(self, pools: SharedPools) -> None:
        self._pools = pools

    def __enter__(self) -> ServerPool:
        self._idle, self._pool = self._pools.take()
        return self._pool

    def __exit__(self, *_: object) -> None:
        self._pools.give_back(self._idle, self._pool)
