"""When Python's garbage collector runs: it looks at every object there is, and queued jobs can be millions.

Jobs are in no cycles and need no collector, yet one that runs by itself takes almost a tenth of a submission's time,
and with Python's own thresholds it stops a server with a million jobs for 60 ms at a time (measured). So it runs when
there is something to find and little to look at, and every ten minutes even if there is much; and never for more than
a hundredth of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

LOOK_EVERY_S: Final = 1.0
#: So many containers more than at the last collection are worth one.
WORTH_CONTAINERS: Final = 5_000
#: With more jobs than that a collection is put off.
FEW_JOBS: Final = 10_000
LONGEST_S: Final = 600.0
_LARGEST_SHARE: Final = 0.01


class GarbageCollection:
    """Takes the collector over, until `close`. What exists by now stays for good and is not looked at again."""

    def __init__(self, loop: Any, count_jobs: Callable[[], int]) -> None:
        self._count_jobs = count_jobs
        self._collected_at = monotonic()
        self._not_before = 0.0
        gc.freeze()
        gc.disable()
        self._timer = loop.timer(LOOK_EVERY_S, LOOK_EVERY_S)
        self._timer.start(self._look)

    def _look(self) -> None:
        started = monotonic()
        is_late = started - self._collected_at >= LONGEST_S
        if started < self._not_before or gc.get_count()[0] < WORTH_CONTAINERS:
            return
        if is_late or self._count_jobs() < FEW_JOBS:
            gc.collect()
            self._collected_at = monotonic()
            self._not_before = self._collected_at + (self._collected_at - started) / _LARGEST_SHARE

    def close(self) -> None:
        """From now on it runs by itself again."""
        self._timer.stop()
        gc.unfreeze()
        gc.enable()
