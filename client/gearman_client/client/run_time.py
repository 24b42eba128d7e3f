"""The time at which a delayed job is to run, in the protocol's unit: whole seconds since 1970. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil, isfinite
from typing import Final

from gearman_client.arguments import Duration, to_duration_s, to_seconds
from gearman_client.errors import ArgumentError

_MAX_UNIX_SECONDS: Final = 2**63 - 1


def run_time(at: datetime | float | None, delay: Duration | None, unix_now: float) -> int | None:
    """The time to run at; None: at once. It is rounded up to a whole second, so that no job runs early.

    Raises:
        ArgumentError: both are given, one is no time, the delay is negative, or the time does not exist.
    """
    if at is not None and delay is not None:
        raise ArgumentError("at and delay both say when the job is to run: give one of them")
    if delay is not None:
        delay_s = to_duration_s(delay, "delay")
        if delay_s < 0:
            raise ArgumentError(f"delay {delay}: expected seconds from 0 up")
        return _whole(unix_now + delay_s, delay) if delay_s else None
    if at is None:
        return None
    return _whole(unix_seconds(at, "at"), at)


def unix_seconds(at: datetime | float, what: str) -> float:
    """A time in Unix seconds.

    Raises:
        ArgumentError: it is no time, or none that exists; `what` names it.
    """
    if isinstance(at, datetime):
        return at.timestamp()
    if isinstance(at, timedelta):
        raise ArgumentError(f"{what} {at!r}: expected a time; `delay` takes a timedelta")
    try:
        seconds = to_seconds(at, what)
    except ArgumentError:
        raise ArgumentError(f"{what} {at!r}: expected a datetime or Unix seconds (a number)") from None
    if not isfinite(seconds) or abs(seconds) > _MAX_UNIX_SECONDS:
        raise ArgumentError(f"{at}: there is no such time")
    return seconds


def _whole(seconds: float, given: object) -> int:
    if not isfinite(seconds) or abs(seconds) > _MAX_UNIX_SECONDS:
        raise ArgumentError(f"{given}: there is no such time")
    return min(ceil(seconds), _MAX_UNIX_SECONDS)
