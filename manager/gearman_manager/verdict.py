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
        self.after_s = after if after is None else _seconds(after)
        if attempts is not None and (not isinstance(attempts, int) or attempts < 1):
            raise ValueError(f"attempts: a number from 1 up, or None for any number, is expected, not {attempts!r}")
        self.attempts = attempts


class Reject(Exception):
    """Raised by a function: this job can never succeed, so no other attempt follows; the text says why."""


def _seconds(after: object) -> float:
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return parse_duration_s(f"{seconds:.3f}s" if is_number else seconds)
