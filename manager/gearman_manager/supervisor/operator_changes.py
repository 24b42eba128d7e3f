"""What an operator changed in the running manager: sizes, pauses, restarts. Sizes last until the file is reread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from gearman_manager.config import ResolvedPool
from gearman_manager.errors import ManagerError
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import Workforce

_log = logging.getLogger("manager")


class OperatorChanges:
    """Carries out `scale`, `restart`, `pause` and `resume`."""

    def __init__(self, workforce: Workforce, changed: Callable[[], None]) -> None:
        """`changed` is called when the pools' sizes are to be arranged anew."""
        self._workforce = workforce
        self._changed = changed
        self._sizes: dict[str, tuple[int, int]] = {}

    def scale(self, name: str, minimum: int, maximum: int) -> None:
        """Give a pool another size.

        Raises:
            ManagerError: there is no such pool, or the sizes are none.
        """
        pool = self._pool(name)
        if not 0 <= minimum <= maximum or maximum < 1:
            remedy = "min from 0 up to max, and max at least 1; or pause the pool"
            raise ManagerError(f"{minimum}..{maximum} is no size: {remedy}")
        self._sizes[pool.name] = (minimum, maximum)
        _log.info("scaled to %d..%d by hand", minimum, maximum, extra={"pool": name})
        self._changed()

    def restart(self, name: str | None) -> None:
        """Replace the workers of a pool, or of all, one after the other.

        Raises:
            ManagerError: there is no such pool, or it is on its way out.
        """
        wanted = [pool for pool in self._workforce.active if pool.state is not PoolState.RETIRING]
        for pool in wanted if name is None else [self._pool(name)]:
            pool.restart()
            _log.info("restarting by hand", extra={"pool": pool.name})
        self._changed()

    def pause(self, name: str, paused: bool) -> None:
        """Let a pool's workers finish and start no others, or go on.

        Raises:
            ManagerError: there is no such pool, or it is on its way out.
        """
        pool = self._pool(name)
        (pool.pause if paused else pool.resume)()
        _log.info("paused by hand" if paused else "resumed by hand", extra={"pool": name})
        self._changed()

    def sized(self, pools: Mapping[str, ResolvedPool]) -> dict[str, ResolvedPool]:
        """The pools as configured, but for the sizes given by hand."""
        result = dict(pools)
        for name, (minimum, maximum) in self._sizes.items():
            if name in result:
                result[name] = replace(result[name], min=minimum, max=maximum)
        return result

    def forget_sizes(self) -> None:
        """The configuration is read again: it is the truth."""
        self._sizes.clear()

    def _pool(self, name: str) -> Pool:
        for pool in self._workforce.active:
            if pool.name == name:
                return pool
        known = ", ".join(sorted(pool.name for pool in self._workforce.active))
        raise ManagerError(f"there is no pool {name}; the pools are: {known}")
