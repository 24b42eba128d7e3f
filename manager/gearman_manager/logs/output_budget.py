"""Limits how much of a child's output is logged: so many bytes a second; the rest is dropped and counted. Pure.

A function that prints endlessly would otherwise fill the disk, and keep the supervisor busy with its lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_BYTES: Final = 1_000_000
#: For the time, level, worker and pid before a line's text.
LINE_OVERHEAD_BYTES: Final = 80
WINDOW_S: Final = 1.0
#: Processor time for the redaction of a child's lines in one window, which spends the whole budget.
MOST_REDACTION_S: Final = 0.05


@dataclass(slots=True)
class OutputBudget:
    """The budget of one child. Times are monotonic seconds."""

    bytes_per_s: int = DEFAULT_BYTES
    _window_ends_at: float = 0.0
    _left_bytes: int = 0
    _is_charged: bool = False
    _dropped_lines: int = 0
    _dropped_bytes: int = 0

    def begin(self, now: float) -> None:
        """Begin a new second if the last one is over. For each read."""
        if now >= self._window_ends_at:
            self._window_ends_at = now + WINDOW_S
            self._left_bytes = self.bytes_per_s

    @property
    def is_spent(self) -> bool:
        """Whether nothing more fits into this second."""
        return self._left_bytes <= 0

    def take(self, size_bytes: int) -> bool:
        """Spend a line's bytes; returns whether it may be logged. The last line may exceed the budget."""
        if self.is_spent:
            return False
        self._left_bytes -= size_bytes + LINE_OVERHEAD_BYTES
        return True

    def charge(self, spent_s: float) -> None:
        """Spend what the redaction of a line took of the processor's time, in seconds."""
        self._left_bytes -= int(spent_s / MOST_REDACTION_S * self.bytes_per_s)
        self._is_charged = True

    def drop(self, lines: int, size_bytes: int) -> bool:
        """Count dropped lines; returns whether they are the first since the last account."""
        is_first = not self._dropped_bytes
        self._dropped_lines += lines
        self._dropped_bytes += size_bytes
        return is_first

    def account(self) -> str:
        """A sentence on what was dropped since the last account; empty if nothing was."""
        if not self._dropped_bytes:
            return ""
        lines, size_bytes = self._dropped_lines, self._dropped_bytes
        self._dropped_lines = self._dropped_bytes = 0
        limit = f"more than {self.bytes_per_s} bytes a second"
        if self._is_charged:
            limit += f", or more than {MOST_REDACTION_S * 1000:g} ms of redaction"
        self._is_charged = False
        return f"{lines} lines ({size_bytes} bytes) of its output were dropped: {limit} (log.max_output)"
