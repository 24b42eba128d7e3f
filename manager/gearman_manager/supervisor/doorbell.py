"""The doorbell: an eventfd. A worker rings it when it has registered or reached a limit, and the supervisor looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import gevent

from gearman_manager.logs.uncaught import watch_readable


class Doorbell:
    """Calls back, in the hub, when a worker has rung."""

    def __init__(self, descriptor: int, answer: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._answer = answer

    def start(self) -> None:
        """Listen from now on."""
        watch_readable(gevent.get_hub().loop, self._descriptor, self._rung)

    def _rung(self) -> None:
        os.set_blocking(self._descriptor, False)  # the workers share this flag, and a job may have changed it
        with suppress(BlockingIOError):  # a job has read it
            os.eventfd_read(self._descriptor)
        self._answer()
