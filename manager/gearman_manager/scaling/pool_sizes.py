"""The bounds between which the autoscaler moves each pool: from the configuration, its windows, or an operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from gearman_manager.config import Layout, Limits, ResolvedPool
from gearman_manager.config.pool_checks import exceeded_by_minima
from gearman_manager.config.resolve import too_few_everywhere
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.windows import in_force


class PoolSizes:
    """Keeps both. An operator's sizes hold until the configuration is read again."""

    def __init__(
        self,
        autoscaler: Autoscaler,
        guards: HostGuards,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` is called after a change, so that the autoscaler runs at once. `clock` tells the Unix time."""
        self._clock = clock
        self._autoscaler = autoscaler
        self._guards = guards
        self._wake = wake
        self._configured: Mapping[str, ResolvedPool] = {}
        self._max_running: Mapping[str, int] = {}
        self._by_hand: dict[str, tuple[int, int]] = {}

    @property
    def current(self) -> dict[str, ResolvedPool]:
        """The pools with the bounds that hold now: an operator's, else those of open windows, else the file's."""
        now = self._clock()
        return {name: in_force(pool, now) for name, pool in self.arranged.items()}

    @property
    def arranged(self) -> dict[str, ResolvedPool]:
        """The pools with their windows. A pool with an operator's size has none: that size holds all day."""
        pools = dict(self._configured)
        for name, (minimum, maximum) in self._by_hand.items():
            if name in pools:
                pools[name] = replace(pools[name], min=minimum, max=maximum, windows=())
        return pools

    @property
    def budgets(self) -> Mapping[str, int]:
        """The budgets of the configuration, each with its units."""
        return self._guards.limits.budgets

    def arrange(self, layout: Layout, limits: Limits) -> None:
        """Take over the sizes and limits of a configuration."""
        self._configured = layout.pools
        self._guards.limits = limits
        functions = layout.functions.values()
        self._max_running = {f.name: f.max_running for f in functions if f.max_running is not None}
        self._tell()

    def give(self, pool: str, minimum: int, maximum: int) -> None:
        """Give a pool the size that an operator wants."""
        self._by_hand[pool] = (minimum, maximum)
        self._tell()

    def refusal(self, pool: str, minimum: int) -> str:
        """Why a pool can't have this `min`: its `max_everywhere`, or a budget too small for all `min`; else nothing."""
        pools = self.arranged
        if pool in pools:
            pools[pool] = replace(pools[pool], min=minimum, windows=())
            if message := too_few_everywhere(pools[pool]):
                return f"pools.{pool}.max_everywhere: {message}"
        problems = exceeded_by_minima(pools.values(), self.budgets)
        return next((f"limits.budgets.{name}: {message}" for name, message in problems), "")

    def forget_given(self) -> None:
        """Forget the operator's sizes: the configuration is being read again."""
        self._by_hand.clear()

    def _tell(self) -> None:
        self._autoscaler.arrange(self.arranged, self._max_running, self._by_hand)
        self._wake()
