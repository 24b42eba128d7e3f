"""How many jobs a pool has ended in the last minute. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

#: Rates are those of so many seconds.
SPAN_S: Final = 60.0


class Rates:
    """Keeps the samples of the last minute."""

    def __init__(self) -> None:
        #: By pool, the ends of samples, and the jobs done and failed in each.
        self._samples: dict[str, deque[tuple[float, int, int]]] = {}
        self._began: dict[str, float] = {}

    def note(self, pool: str, begin: float, end: float, done: int, failed: int) -> None:
        """A sample from one time to another, in monotonic seconds."""
        self._began.setdefault(pool, begin)
        samples = self._samples.setdefault(pool, deque())
        samples.append((end, done, failed))
        while samples[0][0] <= end - SPAN_S:
            self._began[pool] = samples.popleft()[0]

    def keep_only(self, pools: Iterable[str]) -> None:
        """Forget all others."""
        for gone in self._samples.keys() - set(pools):
            del self._samples[gone], self._began[gone]

    def of(self, pool: str) -> tuple[float, float] | None:
        """Jobs done and failed per minute; None: nothing is known yet."""
        samples = self._samples.get(pool)
        if not samples:
            return None
        span_s = samples[-1][0] - self._began[pool]
        if span_s <= 0:
            return None
        done, failed = (sum(sample[place] for sample in samples) * 60 / span_s for place in (1, 2))
        return round(done, 1), round(failed, 1)
