"""While a worker runs: the first SIGTERM or SIGINT stops it after the job that runs, the second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final

#: The signals that service managers, containers and terminals send.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """A context manager. Outside the main thread, where Python allows no handlers, it does nothing.

    The second signal raises KeyboardInterrupt (SIGINT) or SystemExit (SIGTERM) in the main thread, with 128 plus the
    signal's number as exit code, as a shell shows it.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._was_told = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            before = signal.getsignal(number)
            if before is not None:  # None: set by C, and Python could not set it again
                self._before[number] = before
                signal.signal(number, self._on_signal)

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._on_signal:  # else a job has set its own, for good
                signal.signal(number, before)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._was_told:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self._was_told = True
        self._stop()
