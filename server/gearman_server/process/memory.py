"""Memory that the server no longer needs: runs Python's garbage collector, and returns memory to the system.

The collector looks at every object, and there can be millions of queued jobs. glibc keeps memory that was freed in the
middle of its heap, and a dictionary keeps the memory of its largest size.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from time import monotonic
from typing import Final

from gearman_server.loop import Loop

COLLECT_EVERY_S: Final = 1.0
#: New containers since the last collection that make another one worthwhile.
WORTH_CONTAINERS: Final = 5_000
#: With more jobs (a function is as much as ten), a collection waits until the last one is LONGEST_S ago.
FEW_JOBS: Final = 10_000
LONGEST_S: Final = 600.0
_LARGEST_SHARE_OF_COLLECTING: Final = 0.01

GIVE_BACK_EVERY_S: Final = 5.0
#: Memory is given back only when it has grown by this much since the server's start.
WORTH_BYTES: Final = 32 * 1024 * 1024
#: The largest share of the time for giving back: a heap with very many holes is searched less often.
_LARGEST_SHARE_OF_GIVING_BACK: Final = 0.001

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class GarbageCollection:
    """Controls Python's garbage collector until `close`. Objects that exist already are not looked at.

    Jobs are in no cycles and need no collector, but one that runs by itself takes almost a tenth of a submission's
    time, and with Python's own thresholds it stops a server with a million jobs for 60 ms at a time (measured). So it
    runs when there is something to find and little to look at; every ten minutes even if there is much to look at; and
    never for more than a hundredth of the time.
    """

    def __init__(self, loop: Loop, count_jobs: Callable[[], int]) -> None:
        self._count_jobs = count_jobs
        self._collected_at = monotonic()
        self._not_before = 0.0
        gc.freeze()
        gc.disable()
        self._timer = loop.timer(COLLECT_EVERY_S, COLLECT_EVERY_S)
        self._timer.start(self._look)

    def _look(self) -> None:
        started = monotonic()
        is_late = started - self._collected_at >= LONGEST_S
        if started < self._not_before or gc.get_count()[0] < WORTH_CONTAINERS:
            return
        if is_late or self._count_jobs() < FEW_JOBS:
            gc.collect()
            self._collected_at = monotonic()
            self._not_before = self._collected_at + (self._collected_at - started) / _LARGEST_SHARE_OF_COLLECTING

    def close(self) -> None:
        """Let the collector run by itself again."""
        self._timer.stop()
        gc.unfreeze()
        gc.enable()


class FreedMemory:
    """Checks from time to time for memory to give back. Keep a reference: its timer is collected with it.

    Without this a server that once held 20,000 jobs of 10 kB stays 217 MB larger for good; with it 2 MB (measured).
    """

    def __init__(self, loop: Loop, shrink: Callable[[], None]) -> None:
        """`shrink` makes the server release memory that it no longer needs."""
        self._shrink = shrink
        self._trim = _find_trim()
        self._enough_bytes = _resident_bytes() + WORTH_BYTES
        self._not_before = 0.0
        self._timer = loop.timer(GIVE_BACK_EVERY_S, GIVE_BACK_EVERY_S)
        if self._trim is not None:
            self._timer.start(self._look)

    def _look(self) -> None:
        started = monotonic()
        if self._trim is None or started < self._not_before or _resident_bytes() < self._enough_bytes:
            return
        self._shrink()
        self._trim(0)
        ended = monotonic()
        self._not_before = ended + (ended - started) / _LARGEST_SHARE_OF_GIVING_BACK


def _find_trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; other C libraries have none, and some of them need none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return trim


def _resident_bytes() -> int:
    """The memory that this process uses, as the system counts it; 0 if the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
