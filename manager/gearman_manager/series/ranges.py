"""The ranges of charts, and the times of their points. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Range:
    """A range that ends now: its length, and the time of one point, in seconds."""

    name: str
    span_s: int
    step_s: int
    words: str

    def times(self, now: float) -> range:
        """The beginnings of its points in seconds since 1970; the last point is not over yet."""
        last = int(now) - int(now) % self.step_s
        return range(last + self.step_s - self.span_s, last + self.step_s, self.step_s)


RANGES: Final = {
    each.name: each
    for each in (
        Range("15m", 900, 60, "15 minutes"),
        Range("1h", 3600, 60, "1 hour"),
        Range("24h", 86_400, 600, "24 hours"),
        Range("7d", 604_800, 3600, "7 days"),
    )
}
DEFAULT: Final = "1h"
