"""Monotonic moments as seconds since 1970 that stay the same at each look, though the two clocks drift apart."""

from __future__ import annotations

import time
from typing import Final

#: The system's clock was set, and all moments move with it.
_SET_S: Final = 1.0


class SteadyClock:
    """Keeps the difference of the clocks as long as it is about right."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def epoch(self, moment: float) -> float:
        """The moment in seconds since 1970, to a millisecond."""
        ahead_s = time.time() - time.monotonic()
        if abs(ahead_s - self._ahead_s) > _SET_S:
            self._ahead_s = ahead_s
        return round(moment + self._ahead_s, 3)
