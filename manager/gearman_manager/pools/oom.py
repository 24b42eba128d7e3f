"""Tells a death by the kernel's out-of-memory killer from any other SIGKILL: the kernel counts whom it kills so.

The control group's count is that of its own processes. Where there is none the machine's counts, which may have grown
for a stranger. A count that grew a while ago belongs to a process that nobody asked about, so it is forgotten.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from gearman_manager.host.cgroup import Cgroup, count_in
from gearman_manager.host.process import describe_status

MACHINE_COUNTERS: Final = Path("/proc/vmstat")


class OomKills:
    """The kills of which nobody has been said to be the victim yet."""

    def __init__(self, cgroup: Cgroup, machine: Path = MACHINE_COUNTERS) -> None:
        self._cgroup = cgroup
        self._machine = machine
        self._told = self._last_look = self._count()

    def look(self) -> None:
        """Called every second or so: forget what happened before the last look."""
        self._told = max(self._told, self._last_look)
        self._last_look = self._count()

    def describe(self, status: int | None) -> str:
        """An exit status in words; `killed by SIGKILL, by the out-of-memory killer` where that is why."""
        how = describe_status(status)
        if status != -signal.SIGKILL or self._count() <= self._told:
            return how
        self._told += 1
        return f"{how}, by the out-of-memory killer"

    def _count(self) -> int:
        count = self._cgroup.oom_kills()
        return (count_in(self._machine, "oom_kill") or 0) if count is None else count
