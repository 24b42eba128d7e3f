"""The first step of a timeout: a signal handler raises JobTimeout inside user code, and nowhere else.

Our own code that user code calls (to report progress, say) must not be interrupted: a half-sent packet would break the
connection. Meanwhile the limit is suspended, and it raises on the way back.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType, TracebackType
from typing import Final, TypeVar

from gearman_manager.errors import JobTimeout

_Result = TypeVar("_Result")
#: The kernel rings no later than asked for; so much earlier is a matter of rounding.
EARLY_S: Final = 0.002


class TimeoutBySignal:
    """One per process: it owns SIGALRM and the real-time interval timer."""

    __slots__ = ("_deadline", "_is_raising", "_is_too_late", "has_rung")

    def __init__(self) -> None:
        self._deadline = 0.0
        self._is_raising = False
        self._is_too_late = False
        #: Whether the time of the last call was up.
        self.has_rung = False
        signal.signal(signal.SIGALRM, self._time_is_up)

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Run user code for at most `timeout_s` seconds.

        Raises:
            JobTimeout: it took longer.
        """
        self._is_too_late = self.has_rung = False
        self._is_raising = True
        self._deadline = monotonic() + timeout_s
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            return function()
        finally:
            self._is_raising = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _time_is_up(self, _number: int, _frame: FrameType | None) -> None:
        left_s = self._deadline - monotonic()
        if left_s > EARLY_S:  # the job's own alarm, or one that an earlier job left behind
            signal.setitimer(signal.ITIMER_REAL, left_s)
            return
        self._is_too_late = self.has_rung = True
        if self._is_raising:
            raise JobTimeout

    # --- suspended within `with limit:`

    def __enter__(self) -> None:
        self._is_raising = False

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._is_too_late:
            self._is_too_late = False
            raise JobTimeout
        self._is_raising = True
