"""The exceptions by which a function decides the fate of its job. Light, because worker modules import it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from gearman_process.values.durations import parse_duration_s

#: The most attempts of a job that always asks for another one, unless it sets `attempts`.
DEFAULT_ATTEMPTS: Final = 25


class Retry(Exception):
    """Raised by a function: this attempt failed, and another one should follow, whatever `retries` says.

    Args:
        reason: written to the log, and sent to the client if no other attempt follows.
        after: the shortest wait: "10m", seconds, or a timedelta; by default the function's `backoff`.
        attempts: the most attempts in all; after them this counts as any other failure. None = any number.

    Raises:
        ValueError: an argument can't be understood.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        after: str | float | timedelta | None = None,
        attempts: int | None = DEFAULT_ATTEMPTS,
    ) -> None:
        super().__init__(reason)
        self.after_s = after if after is None else seconds_of(after)
        if attempts is not None and (not isinstance(attempts, int) or attempts < 1):
            raise ValueError(f"attempts: a number from 1 up, or None for any number, is expected, not {attempts!r}")
        self.attempts = attempts


class Throttled(Retry):
    """Raised by a function: what it needs takes no more now (SMTP's 421, HTTP's 429 with Retry-After).

    The job goes back to the head of its queue without costing an attempt, and no job with its key starts for a while,
    or none of its function. A job server that can't hold them takes it as a `Retry` after the same time.

    Args:
        reason: written to the log.
        after: how long: "5m", seconds, or a timedelta.
        scope: "key": the jobs with this job's key (those without a key are of one); "function": all of its function.

    Raises:
        ValueError: an argument can't be understood.
    """

    def __init__(self, reason: str = "", *, after: str | float | timedelta, scope: str = "key") -> None:
        super().__init__(reason, after=after)
        if not self.after_s:
            raise ValueError("after: a time above 0 is expected, such as 30s")
        if scope not in ("key", "function"):
            raise ValueError(f"scope: key or function is expected, not {scope!r}")
        self.scope = scope


class Reject(Exception):
    """Raised by a function: this job can never succeed, so no other attempt follows; the text says why."""


def seconds_of(after: object) -> float:
    """A time as functions give it: "10m", seconds, or a timedelta.

    Raises:
        ValueError: it is none.
    """
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return parse_duration_s(f"{seconds:.3f}s" if is_number else seconds)
