"""Moments of the scaler's clock, the monotonic one, as times that people and other programs read."""

from __future__ import annotations

import time
from typing import Final

#: The error of a sum of clocks must not turn 10:00 into 09:59:59.
_ROUNDING_S: Final = 0.01


def epoch(moment: float) -> float:
    """The moment in seconds since 1970. If the system's clock was set since, by that clock as it is now."""
    return time.time() - (time.monotonic() - moment)


def time_of_day(moment: float) -> str:
    """The local time: `12:01:07`, `12:01` if it is a full minute, and with its date if it is not today's."""
    at = time.localtime(int(epoch(moment) + _ROUNDING_S))
    text = time.strftime("%H:%M:%S" if at.tm_sec else "%H:%M", at)
    return text if at[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", at) + text
