"""What a function can raise to decide what becomes of its job. Light: worker modules import it."""

from __future__ import annotations

from typing import Final

from gearman_process.durations import parse_duration_s

#: A job that asks for another attempt every time gets so many in all, unless it says otherwise.
DEFAULT_ATTEMPTS: Final = 25


class Retry(Exception):
    """Raised by a function: this attempt has failed, and another one is to follow, whatever `retries` says.

    Args:
        reason: told in the log, and to the client if no other attempt follows.
        after: how long to wait at least, as "10m" or in seconds; without it the function's `backoff`.
        attempts: how many attempts the job may have in all before this counts as any other failure; None = any number.

    Raises:
        ValueError: one of them can't be understood.
    """

    def __init__(
        self, reason: str = "", *, after: str | float | None = None, attempts: int | None = DEFAULT_ATTEMPTS
    ) -> None:
        super().__init__(reason)
        self.after_s = after if after is None else _seconds(after)
        if attempts is not None and (not isinstance(attempts, int) or attempts < 1):
            raise ValueError(f"attempts: a number from 1 up, or None for any number, is expected, not {attempts!r}")
        self.attempts = attempts


class Reject(Exception):
    """Raised by a function: this job can never succeed, so no other attempt follows; the text says why."""


def _seconds(after: str | float) -> float:
    return parse_duration_s(after if isinstance(after, str) else f"{after:.3f}s")
