"""The first step of a timeout: a signal handler raises JobTimeout inside user code, and nowhere else.

Our own code that user code calls (to report progress, say) must not be interrupted: a half-sent packet would break the
connection. Meanwhile the limit is suspended, and it raises on the way back.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TypeVar

from gearman_manager.errors import JobTimeout

_Result = TypeVar("_Result")


class TimeoutBySignal:
    """One per process: it owns SIGALRM and the real-time interval timer."""

    __slots__ = ("_is_raising", "_is_too_late")

    def __init__(self) -> None:
        self._is_raising = False
        self._is_too_late = False
        signal.signal(signal.SIGALRM, self._time_is_up)

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Run user code for at most `timeout_s` seconds.

        Raises:
            JobTimeout: it took longer.
        """
        self._is_too_late = False
        self._is_raising = True
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            return function()
        finally:
            self._is_raising = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _time_is_up(self, _number: int, _frame: FrameType | None) -> None:
        self._is_too_late = True
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
