"""A worker's limits in jobs, memory and open files. The worker tells the supervisor when it is near one of them.

So the supervisor has a replacement before this worker ends.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from gearman_manager.host.memory import anonymous_bytes, private_bytes
from gearman_manager.ipc.links import ring
from gearman_manager.ipc.scoreboard import SlotWriter, Wear
from gearman_manager.worker.order import Order

#: How long an exact reading of the memory is trusted.
_TRUST_S: Final = 1.0


class WearLimits:
    """Tells the supervisor, once, that this worker is near a limit: its replacement registers before it ends."""

    def __init__(self, order: Order, slot: SlotWriter, doorbell: int) -> None:
        self._slot = slot
        self._doorbell = doorbell
        self._jobs = 0
        self._max_jobs = order.max_jobs
        # The warning comes a tenth of the jobs ahead, so that even short jobs leave time to fork a replacement.
        self._warn_at = order.max_jobs - order.max_jobs // 10 if order.max_jobs else None
        self._gauge = MemoryGauge(order.max_memory_bytes) if order.max_memory_bytes else None
        self._has_told = False

    @property
    def jobs_left(self) -> int | None:
        """The number of jobs that it may still take; None: there is no limit."""
        return None if self._max_jobs is None else max(0, self._max_jobs - self._jobs)

    @property
    def weighs(self) -> bool:
        """Whether `after_job` has something to do after a job that has not failed."""
        return self._gauge is not None

    def before_job(self) -> None:
        """Count a job that was assigned."""
        self._jobs += 1
        if self._jobs == self._warn_at:
            self._tell(Wear.LAST_JOBS)

    def before_jobs(self, count: int) -> None:
        """Count the jobs of one call."""
        warned = self._warn_at is not None and self._jobs >= self._warn_at
        self._jobs += count
        if self._warn_at is not None and self._jobs >= self._warn_at and not warned:
            self._tell(Wear.LAST_JOBS)

    def take_back(self, count: int) -> None:
        """So many of the jobs that were counted are not run."""
        self._jobs -= count

    def after_job(self, *, failed: bool = False) -> None:
        """Check the limits after a job was answered."""
        if self._has_told:
            return
        if self._gauge is not None and self._gauge.is_over(time.monotonic()):
            self._tell(Wear.MEMORY)
        elif failed and not _can_open():
            self._tell(Wear.DESCRIPTORS)

    def has_stuck_job(self) -> None:
        """Tell the supervisor that one of the jobs can't be ended."""
        if not self._has_told:
            self._tell(Wear.STUCK_JOB)

    def _tell(self, wear: Wear) -> None:
        self._has_told = True
        self._slot.wear(wear)
        ring(self._doorbell)


class MemoryGauge:
    """Compares the private memory of this process with a limit, cheaply enough to do so after every job.

    It remembers the difference between the cheap reading and the exact one, and takes the exact one only if the cheap
    one says that the limit may be reached, or a second has passed. Make it after the fork.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._shared_bytes = 0  #: counted by the cheap reading, but not private
        self._exact_at = -_TRUST_S

    def is_over(self, now: float) -> bool:
        """Whether the private memory is at the limit or above; `now` is monotonic."""
        cheap_bytes = anonymous_bytes(os.pread(self._statm, 128, 0))
        if cheap_bytes - self._shared_bytes < self._limit_bytes and now - self._exact_at < _TRUST_S:
            return False
        self._exact_at = now
        exact_bytes = private_bytes()
        self._shared_bytes = cheap_bytes - exact_bytes
        return exact_bytes >= self._limit_bytes


def _can_open() -> bool:
    """Whether this process may have one more descriptor."""
    try:
        os.close(os.dup(0))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
