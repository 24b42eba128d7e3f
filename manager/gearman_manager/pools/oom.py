"""Tells a death by the kernel's out-of-memory killer from any other SIGKILL: the kernel counts these kills.

The control group counts its own processes. Without one the machine's count is used, which a foreign process may have
raised. An increase from a while ago belongs to a process that we were not asked to describe, so it is forgotten.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from gearman_manager.host.cgroup import Cgroup, count_in
from gearman_manager.host.process import describe_status

MACHINE_COUNTERS: Final = Path("/proc/vmstat")


class OomKills:
    """Counts the kills that have not been attributed to a process yet."""

    def __init__(self, cgroup: Cgroup, machine: Path = MACHINE_COUNTERS) -> None:
        self._cgroup = cgroup
        self._machine = machine
        self._told = self._last_look = self._count()

    def look(self) -> None:
        """Forget the kills from before the last look. Called about once a second."""
        self._told = max(self._told, self._last_look)
        self._last_look = self._count()

    def describe(self, status: int | None) -> str:
        """An exit status in words, such as `killed by SIGKILL, by the out-of-memory killer`."""
        how = describe_status(status)
        if status != -signal.SIGKILL or self._count() <= self._told:
            return how
        self._told += 1
        return f"{how}, by the out-of-memory killer"

    def _count(self) -> int:
        count = self._cgroup.oom_kills()
        return (count_in(self._machine, "oom_kill") or 0) if count is None else count
