"""The limits of a process's control group and of its ancestors, for version 2 and version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
_V1_COUNTERS: Final = "memory.oom_control"
_UNLIMITED_BYTES: Final = 1 << 60  #: version 1 writes "no limit" as a number near 2⁶³


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The folders that may hold limits, from the innermost outwards; without folders there is no limit."""

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, process: str = "self") -> Cgroup:
        """The control group of a process."""
        try:
            lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
        except OSError:
            return cls(())
        return cls(tuple(folder for line in lines for folder in _folders(line)))

    def free_memory_bytes(self) -> int | None:
        """The memory that the tightest limit leaves; None without a limit. Page cache that can be dropped is free."""
        free = []
        for folder in self.folders:
            limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
            if limit is not None and used is not None and limit < _UNLIMITED_BYTES:
                free.append(limit - used + (count_in(folder / "memory.stat", "inactive_file") or 0))
        return max(0, min(free)) if free else None

    def oom_kills(self) -> int | None:
        """The number of processes in the innermost group that the out-of-memory killer has killed; None if not counted.

        See `oom_kill` in the kernel's documentation of both versions: memory.events and memory.oom_control.
        """
        counts = (
            count_in(folder / file, "oom_kill") for folder in self.folders for file in ("memory.events", _V1_COUNTERS)
        )
        return next((count for count in counts if count is not None), None)

    def cores(self) -> float | None:
        """The processor time that the group may use, in processors; None without a limit."""
        return min((quota for folder in self.folders if (quota := _quota(folder)) is not None), default=None)


def _folders(line: str) -> Iterator[Path]:
    """`0::/path` is version 2, `4:memory:/path` a controller of version 1; each with its ancestors."""
    _, controllers, path = line.split(":", 2)
    names = controllers.split(",") if controllers else ["", "unified"]
    for name in names:
        root = CGROUPS / name
        own = root / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota = str(_number(folder / "cpu.cfs_quota_us") or "max")  # "-1", no limit, gives None here
        period = str(_number(folder / "cpu.cfs_period_us") or 100_000)
    return None if quota == "max" else int(quota) / int(period)


def usable_cores(cgroup: Cgroup) -> int:
    """The processors that this process may use, at least one; `2/core` in a configuration counts these."""
    affinity = len(os.sched_getaffinity(0))
    quota = cgroup.cores()
    return affinity if quota is None else max(1, min(affinity, round(quota)))


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def count_in(file: Path, name: str) -> int | None:
    """The number after a name, in a file with one such pair on each line."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
