"""The first step of a timeout: JobTimeout, raised by a signal handler inside user code, and nowhere else.

Our own code that user code calls (to report progress, say) must not be cut in the middle: a half-sent packet would
break the connection. There the limit is suspended, and raises on the way back.
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

    __slots__ = ("_raises", "_too_late")

    def __init__(self) -> None:
        self._raises = False
        self._too_late = False
        signal.signal(signal.SIGALRM, self._time_is_up)

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Run user code for at most so many seconds.

        Raises:
            JobTimeout: it took longer.
        """
        self._too_late = False
        self._raises = True
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            return function()
        finally:
            self._raises = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _time_is_up(self, _number: int, _frame: FrameType | None) -> None:
        self._too_late = True
        if self._raises:
            raise JobTimeout

    # --- suspended within `with limit:`

    def __enter__(self) -> None:
        self._raises = False

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._too_late:
            self._too_late = False
            raise JobTimeout
        self._raises = True
