"""What the host still allows: no further workers while memory is short or the machine is loaded.

Memory is the cgroup's where that is tighter than the machine. Nothing that runs is stopped for it.
"""

from __future__ import annotations

import os

import psutil

from gearman_manager.config import Limits
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.scaling.allotment import Room


def free_memory_bytes(cgroup: Cgroup) -> int:
    """The memory that can still be had without swapping."""
    machine = int(psutil.virtual_memory().available)
    limited = cgroup.free_memory_bytes()
    return machine if limited is None else min(machine, limited)


class HostGuards:
    """Answers the scaler's question how much room there is."""

    def __init__(self, limits: Limits, cgroup: Cgroup) -> None:
        self._limits = limits
        self._cgroup = cgroup

    def room(self) -> Room | None:
        """None: the host sets no limit now. Otherwise no further worker, and which guard says so."""
        limits = self._limits
        if limits.min_free_memory and (free := free_memory_bytes(self._cgroup)) < limits.min_free_memory:
            return Room(0, f"limits.min_free_memory ({free // 1_000_000} MB are free)")
        if limits.max_load is not None and (load := os.getloadavg()[0]) > limits.max_load:
            return Room(0, f"limits.max_load (the load is {load:.1f})")
        return None
