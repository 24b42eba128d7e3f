"""The doorbell: an eventfd by which a worker that registered, or reached a limit, has the supervisor look."""

from __future__ import annotations

import os
from collections.abc import Callable

import gevent

from gearman_manager.logs.uncaught import watch_readable


class Doorbell:
    """Calls back, in the hub, when anybody has rung."""

    def __init__(self, descriptor: int, answer: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._answer = answer

    def start(self) -> None:
        """Listen from now on."""
        watch_readable(gevent.get_hub().loop, self._descriptor, self._rung)

    def _rung(self) -> None:
        os.eventfd_read(self._descriptor)
        self._answer()
