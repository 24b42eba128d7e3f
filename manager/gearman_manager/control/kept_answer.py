"""An answer that takes a while to make, kept for those who ask soon after."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gevent.lock import BoundedSemaphore

T = TypeVar("T")


class KeptAnswer(Generic[T]):
    """Makes it anew only when it is too old."""

    def __init__(self, make: Callable[[], T], lasts_s: float) -> None:
        self._make = make
        self._lasts_s = lasts_s
        self._turn = BoundedSemaphore()
        #: The last one, and until when it is told (monotonic seconds).
        self._kept: tuple[T, float] | None = None

    def __call__(self) -> T:
        """The answer. Those who ask while it is made wait for it."""
        with self._turn:
            if self._kept is None or self._kept[1] <= time.monotonic():
                answer = self._make()
                self._kept = answer, time.monotonic() + self._lasts_s
            return self._kept[0]
