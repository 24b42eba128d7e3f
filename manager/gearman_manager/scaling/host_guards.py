"""The host's limits: no further workers while memory is short or the load is high.

Free memory is the cgroup's if that is less than the machine's. No running worker is stopped.
"""

from __future__ import annotations

import os

import psutil

from gearman_manager.config import Limits
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.scaling.allotment import Room
from gearman_manager.scaling.decision import Limit


def free_memory_bytes(cgroup: Cgroup) -> int:
    """The memory that is available without swapping."""
    machine = int(psutil.virtual_memory().available)
    limited = cgroup.free_memory_bytes()
    return machine if limited is None else min(machine, limited)


class HostGuards:
    """Tells the scaler how much room the host has."""

    def __init__(self, limits: Limits, cgroup: Cgroup) -> None:
        #: As the configuration that holds has them.
        self.limits = limits
        self._cgroup = cgroup

    def room(self) -> Room | None:
        """None while the host sets no limit; else room for no further worker, with the guard's name."""
        limits = self.limits
        if limits.min_free_memory and (free := free_memory_bytes(self._cgroup)) < limits.min_free_memory:
            return _no_room("limits.min_free_memory", f"{free // 1_000_000} MB are free")
        if limits.max_load is not None and (load := os.getloadavg()[0]) > limits.max_load:
            return _no_room("limits.max_load", f"the load is {load:.1f}")
        return None


def _no_room(key: str, detail: str) -> Room:
    return Room(0, Limit(key, f"{key} holds", detail))
