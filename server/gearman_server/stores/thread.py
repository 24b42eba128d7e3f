"""A native thread for calls that block, one at a time; results are delivered on the loop's thread.

Native even where the program that embeds the server is monkey-patched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from gevent.monkey import get_original

_start_thread: Final = get_original("_thread", "start_new_thread")
_new_lock: Final = get_original("_thread", "allocate_lock")
#: As `time.sleep`, for calls on such a thread.
native_sleep: Final = get_original("time", "sleep")

#: What a call hands to the loop: it is called there.
Delivery = Callable[[], None]


class NativeThread:
    """Runs calls that the loop hands over. A call returns what is to be done on the loop, and must not raise."""

    def __init__(self, loop: Any) -> None:
        self._call: Callable[[], Delivery] | None = None
        self._delivery: Delivery | None = None
        self._wake = _new_lock()
        self._wake.acquire()
        self._ended = _new_lock()
        self._ended.acquire()
        self._done: Any = loop.async_()
        self._done.start(self._deliver)
        #: Whether a call is being carried out, or its result has yet to be delivered.
        self.is_busy = False
        _start_thread(self._run, ())

    def run(self, call: Callable[[], Delivery]) -> None:
        """Hand a call over. The thread must not be busy."""
        self.is_busy = True
        self._call = call
        self._wake.release()

    def stop(self, patience_s: float) -> bool:
        """Let it finish its call, deliver the result, and end. Blocks; False: it takes longer, and goes on alone."""
        deadline = time.monotonic() + patience_s
        while self.is_busy and self._delivery is None and time.monotonic() < deadline:
            native_sleep(0.001)
        self._deliver()
        self._done.stop()
        if self.is_busy:
            return False
        self._wake.release()
        return bool(self._ended.acquire(timeout=patience_s))

    def _deliver(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            self.is_busy = False
            delivery()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            call, self._call = self._call, None
            if call is None:
                break
            self._delivery = call()
            self._done.send()
        self._ended.release()
