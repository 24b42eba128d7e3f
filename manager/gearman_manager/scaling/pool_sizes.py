"""The pools' sizes that hold now, as configured or as an operator gave them; the autoscaler works between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gearman_manager.config import Layout, Limits, ResolvedPool
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.host_guards import HostGuards


class PoolSizes:
    """Sizes given by hand hold until the configuration is read again."""

    def __init__(self, autoscaler: Autoscaler, guards: HostGuards, wake: Callable[[], None]) -> None:
        """`wake` is called when the autoscaler should look again."""
        self._autoscaler = autoscaler
        self._guards = guards
        self._wake = wake
        self._configured: Mapping[str, ResolvedPool] = {}
        self._max_running: Mapping[str, int] = {}
        self._by_hand: dict[str, tuple[int, int]] = {}

    @property
    def current(self) -> dict[str, ResolvedPool]:
        """The pools as configured, but for the sizes given by hand."""
        pools = dict(self._configured)
        for name, (minimum, maximum) in self._by_hand.items():
            if name in pools:
                pools[name] = replace(pools[name], min=minimum, max=maximum)
        return pools

    def arrange(self, layout: Layout, limits: Limits) -> None:
        """Take over what the configuration says."""
        self._configured = layout.pools
        self._guards.limits = limits
        functions = layout.functions.values()
        self._max_running = {f.name: f.max_running for f in functions if f.max_running is not None}
        self._tell()

    def give(self, pool: str, minimum: int, maximum: int) -> None:
        """An operator wants this size."""
        self._by_hand[pool] = (minimum, maximum)
        self._tell()

    def forget_given(self) -> None:
        """The configuration is read again: it is the truth, once it is arranged."""
        self._by_hand.clear()

    def _tell(self) -> None:
        self._autoscaler.arrange(self.current, self._max_running)
        self._wake()
