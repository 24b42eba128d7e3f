"""A native thread for blocking calls, one after the other; results are delivered on the loop's thread.

It is native even if the program that embeds the server is monkey-patched.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gevent.monkey import get_original

if TYPE_CHECKING:
    from queue import SimpleQueue

    from gearman_server.loop import Loop

_start_thread: Final = get_original("_thread", "start_new_thread")
_new_lock: Final = get_original("_thread", "allocate_lock")
_new_queue: Final = get_original("queue", "SimpleQueue")
#: The unpatched `time.sleep`, for calls on such a thread.
native_sleep: Final = get_original("time", "sleep")

#: The result of a call: a callable that the loop's thread calls.
Delivery = Callable[[], None]


class NativeThread:
    """Runs calls that the loop hands over. A call returns its `Delivery`, and must not raise."""

    def __init__(self, loop: Loop) -> None:
        # None is the last entry: the thread ends.
        self._calls: SimpleQueue[Callable[[], Delivery] | None] = _new_queue()
        self._deliveries: deque[Delivery] = deque()
        self._undelivered = 0
        self._ended = _new_lock()
        self._ended.acquire()
        self._done = loop.async_()
        self._done.start(self._deliver)
        _start_thread(self._run, ())

    @property
    def is_busy(self) -> bool:
        """Whether a call has not ended yet, or its result is not delivered yet."""
        return self._undelivered > 0

    def run(self, call: Callable[[], Delivery]) -> None:
        """Hand a call over: it begins when the earlier ones have ended. The caller bounds their number."""
        self._undelivered += 1
        self._calls.put(call)

    def stop(self, patience_s: float) -> bool:
        """Let it finish its calls, deliver the results, and end. Blocks. False: it takes longer, and goes on alone."""
        deadline = time.monotonic() + patience_s
        while self._undelivered > len(self._deliveries) and time.monotonic() < deadline:
            native_sleep(0.001)
        self._deliver()
        self._done.stop()
        if self.is_busy:
            return False
        self._calls.put(None)
        return bool(self._ended.acquire(timeout=patience_s))

    def _deliver(self) -> None:
        while self._deliveries:
            self._undelivered -= 1
            deliver = self._deliveries.popleft()
            try:
                deliver()
            except BaseException:
                self._done.send()  # the results behind this one are delivered too
                raise

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                break
            self._deliveries.append(call())
            self._done.send()
        self._ended.release()
