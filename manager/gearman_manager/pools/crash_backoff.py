"""The wait before a crashed worker is replaced, and the time at which crashes are forgotten. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final


@dataclass(slots=True)
class CrashBackoff:
    """The wait before a crashed worker is replaced.

    After an occasional crash there is none. A worker that dies before it registers doubles the delay, and so does each
    crash beyond one per worker (at least `FREE_CRASHES`) within the window; a quiet window resets it.
    """

    WINDOW_S: Final = 10.0
    FREE_CRASHES: Final = 5
    FIRST_DELAY_S: Final = 0.5
    MAX_DELAY_S: Final = 30.0
    MAX_DELAY_REGISTERED_S: Final = 2.0  #: for workers that register, and then die in their jobs

    consecutive: int = 0
    not_before: float = 0.0
    _recent: deque[float] = field(default_factory=deque)

    def crashed(self, now: float, *, registered: bool, workers: int, jitter: float) -> None:
        """Note a crash; `jitter` is a random number from 0 to 1."""
        if self._recent and now - self._recent[-1] > max(self.WINDOW_S, 2 * self._delay_s()):
            self.consecutive = 0
        while self._recent and now - self._recent[0] > self.WINDOW_S:
            self._recent.popleft()
        self._recent.append(now)
        if len(self._recent) > max(self.FREE_CRASHES, workers) or not registered:
            self.consecutive += 1
            longest_s = self.MAX_DELAY_REGISTERED_S if registered else self.MAX_DELAY_S
            self.not_before = now + min(self._delay_s(), longest_s) * (0.75 + 0.5 * jitter)

    def refused(self, until: float) -> None:
        """Wait until then: the system can't start a process. The pool is not at fault, so this is no crash."""
        self.not_before = max(self.not_before, until)

    @property
    def calm_at(self) -> float:
        """The time at which the crashes are forgotten, if no other comes first."""
        last = self._recent[-1] if self._recent else 0.0
        return max(self.not_before, last + max(self.WINDOW_S, 2 * self._delay_s()))

    def _delay_s(self) -> float:
        """The delay after the last crash: none after the first, then doubled each time."""
        if self.consecutive <= 1:
            return 0.0
        return float(min(self.FIRST_DELAY_S * 2 ** min(self.consecutive - 2, 16), self.MAX_DELAY_S))
