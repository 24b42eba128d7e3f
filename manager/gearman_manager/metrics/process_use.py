"""The memory and the processor time of workers, read when somebody scrapes: some microseconds for each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Final

from gearman_manager.host.memory import anonymous_bytes

#: The clock of a process's time on the processor is numbered so, as clock_getcpuclockid(3) does it.
_PROCESS_CLOCK: Final = 2


class ProcessUse:
    """Adds up processor times by pool, so that the sums never fall when workers go.

    What a worker has used since the last look is lost when it ends.
    """

    def __init__(self) -> None:
        self._gone_s: dict[str, float] = {}
        #: By pool and worker, the seconds at the last look.
        self._seen_s: dict[str, dict[str, float]] = {}

    def of(self, pool: str, pids: Mapping[str, int]) -> tuple[int, float]:
        """The memory in bytes of a pool's processes, by worker; and the processor time that its workers have used."""
        total_bytes, seen_s = 0, dict[str, float]()
        before_s = self._seen_s.get(pool, {})
        for worker, pid in pids.items():
            use = use_of(pid)
            if use is not None:
                total_bytes += use[0]
                seen_s[worker] = use[1]
        gone_s = sum(used_s for worker, used_s in before_s.items() if worker not in seen_s)
        self._gone_s[pool] = self._gone_s.get(pool, 0.0) + gone_s
        self._seen_s[pool] = seen_s
        return total_bytes, self._gone_s[pool] + sum(seen_s.values())

    def keep_only(self, pools: Iterable[str]) -> None:
        """Forget the other pools, which have vanished."""
        for pool in self._gone_s.keys() - set(pools):
            del self._gone_s[pool], self._seen_s[pool]


def use_of(pid: int) -> tuple[int, float] | None:
    """The memory of a process that belongs to no file, in bytes, and its time on the processor, in seconds; None: it is
    gone."""
    try:
        return anonymous_bytes(_content(f"/proc/{pid}/statm")), time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except (OSError, IndexError):
        return None  # it is gone


def _content(file: str) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
