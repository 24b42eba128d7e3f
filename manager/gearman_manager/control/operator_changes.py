"""Changes that an operator makes to running pools: sizes, pauses, restarts. Sizes last until the file is read again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gearman_manager.errors import ManagerError, NotFound
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_counts import Departure
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.pool_sizes import PoolSizes

_log = logging.getLogger("manager")


class OperatorChanges:
    """Carries out `scale`, `restart`, `pause` and `resume`."""

    def __init__(self, workforce: Workforce, sizes: PoolSizes, wake: Callable[[], None]) -> None:
        """`wake` is called after a change, so that the pools follow it at once."""
        self._workforce = workforce
        self._sizes = sizes
        self._wake = wake

    def scale(self, name: str, minimum: int, maximum: int) -> None:
        """Give a pool another size.

        Raises:
            ManagerError: there is no such pool, the sizes are invalid, or a budget or `max_everywhere` is too small for
                this `min`.
        """
        pool = find_pool(self._workforce, name)
        if not 0 <= minimum <= maximum or maximum < 1:
            remedy = "min from 0 up to max, and max at least 1; or pause the pool"
            raise ManagerError(f"{minimum}..{maximum} is no size: {remedy}")
        if refusal := self._sizes.refusal(pool.name, minimum):
            raise ManagerError(refusal)
        _log.info("scaled to %d..%d by hand", minimum, maximum, extra={"pool": name})
        self._sizes.give(pool.name, minimum, maximum)

    def restart(self, name: str | None) -> None:
        """Replace the workers of a pool, or of all pools, one after the other.

        Raises:
            ManagerError: there is no such pool, or it is being removed.
        """
        wanted = [pool for pool in self._workforce.active if pool.state is not PoolState.RETIRING]
        for pool in wanted if name is None else [find_pool(self._workforce, name)]:
            pool.restart()
            _log.info("restarting by hand", extra={"pool": pool.name})
        self._wake()

    def restart_worker(self, name: str) -> None:
        """Replace one worker, POOL/N, which finishes its job first.

        Raises:
            NotFound: there is no such worker.
        """
        live = self._workforce.live.get(name)
        if live is None:
            raise NotFound(f"there is no worker {name}: it may have been replaced meanwhile")
        live.worker.is_worn = True
        live.worker.departure = live.worker.departure or Departure.RENEWED
        _log.info("restarting by hand", extra=live.where)
        self._wake()

    def pause(self, name: str) -> None:
        """Let a pool's workers finish, and start no others.

        Raises:
            ManagerError: there is no such pool, or it is being removed.
        """
        find_pool(self._workforce, name).pause()
        _log.info("paused by hand", extra={"pool": name})
        self._wake()

    def resume(self, name: str) -> None:
        """Start workers for a paused pool again.

        Raises:
            ManagerError: there is no such pool, or it is being removed.
        """
        find_pool(self._workforce, name).resume()
        _log.info("resumed by hand", extra={"pool": name})
        self._wake()


def find_pool(workforce: Workforce, name: str) -> Pool:
    """The pool of that name.

    Raises:
        NotFound: there is none; the others are named.
    """
    for pool in workforce.active:
        if pool.name == name:
            return pool
    known = ", ".join(sorted(pool.name for pool in workforce.active))
    raise NotFound(f"there is no pool {name}; the pools are: {known}")
