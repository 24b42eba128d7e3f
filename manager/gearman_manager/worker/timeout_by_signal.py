"""The first step of a timeout or a stop: a signal handler raises JobTimeout or JobStopped in user code, nowhere else.

Our own code that user code calls (to report progress, say) must not be interrupted: a half-sent packet would break the
connection. Meanwhile the limit is suspended, and it raises on the way back. The supervisor marks in the worker's slot
which job is to stop, then sends the alarm's signal: one that comes too late for its job does no harm. Where it can't be
raised now it is tried again a moment later, so jobs that nobody stops pay nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from math import inf
from time import monotonic, monotonic_ns
from types import FrameType, TracebackType
from typing import ClassVar, Final, TypeVar

from gearman_client.errors import JobStopped
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.scoreboard import SlotWriter
from gearman_manager.worker.bare_signals import install
from gearman_manager.worker.function_call import is_in_user_code

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
#: The kernel rings no later than asked for; so much earlier is a matter of rounding.
EARLY_S: Final = 0.002
#: When a job that is to stop can't be interrupted now, it is tried again after this time.
AGAIN_S: Final = 0.01


class TimeoutBySignal:
    """One per process: it owns SIGALRM and the real-time interval timer."""

    __slots__ = ("_deadline", "_is_calling", "_is_raising", "_is_too_late", "_slot", "_stopped", "has_rung")

    #: A job without a time limit needs no call of ours: `is_in_user_code` finds out when it may be stopped.
    watches_all: ClassVar = False

    def __init__(self, slot: SlotWriter) -> None:
        self._slot = slot
        self._deadline = inf
        self._is_calling = self._is_raising = self._is_too_late = False
        #: The start of the last job that was stopped.
        self._stopped = 0
        #: Whether a job was interrupted; the worker takes it back.
        self.has_rung = False
        install(signal.SIGALRM, self._rings)

    def call(self, function: Callable[[_Argument], _Result], argument: _Argument, timeout_s: float | None) -> _Result:
        """Run user code for at most `timeout_s` seconds, None: any time.

        Raises:
            JobTimeout: it took longer.
            JobStopped: its job is to stop.
        """
        if timeout_s is None:
            return function(argument)
        self._is_too_late = self.has_rung = False
        self._is_calling = self._is_raising = True
        self._deadline = monotonic() + timeout_s
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            return function(argument)
        finally:
            self._is_calling = self._is_raising = False
            self._deadline = inf
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _rings(self, _number: int, frame: FrameType | None) -> None:
        slot = self._slot
        until_ns = slot.stop_until_ns
        if until_ns and slot.start_ns != self._stopped:
            if self._is_raising if self._is_calling else is_in_user_code(frame):
                self._stopped = slot.start_ns
                self.has_rung = True
                self._is_raising = False  # once: it cleans up now
                raise JobStopped
            if monotonic_ns() < until_ns:
                signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
                return
        left_s = self._deadline - monotonic()
        if left_s > EARLY_S:  # the job's own alarm, or one that an earlier job left behind
            if left_s < inf:
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
        self._is_raising = self._is_calling
