"""The time at which a delayed job is to run, in the protocol's unit: whole seconds since 1970. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil, isfinite
from typing import Final

from gearman_client.errors import ArgumentError

_MAX_UNIX_SECONDS: Final = 2**63 - 1


def run_time(at: datetime | float | None, delay: timedelta | float | None, unix_now: float) -> int | None:
    """The time to run at; None: at once. It is rounded up to a whole second, so that no job runs early.

    Raises:
        ArgumentError: both are given, the delay is negative, or the time does not exist.
    """
    if at is not None and delay is not None:
        raise ArgumentError("at and delay both say when the job is to run: give one of them")
    if delay is not None:
        delay_s = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if not delay_s >= 0:
            raise ArgumentError(f"delay {delay}: expected seconds from 0 up")
        return _whole(unix_now + delay_s, delay) if delay_s else None
    if at is None:
        return None
    return _whole(at.timestamp() if isinstance(at, datetime) else at, at)


def _whole(seconds: float, given: object) -> int:
    if not isfinite(seconds) or abs(seconds) > _MAX_UNIX_SECONDS:
        raise ArgumentError(f"{given}: there is no such time")
    return min(ceil(seconds), _MAX_UNIX_SECONDS)
