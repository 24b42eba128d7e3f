"""This manager's own summary, made anew at most every two seconds, however many peers and pages ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gevent.lock import BoundedSemaphore

from gearman_manager import __version__
from gearman_manager.peers.summary import Summary, summary_of

LASTS_S: Final = 2.0


class OwnSummary:
    """Makes the summary, and keeps it for a moment."""

    def __init__(
        self, overview: Callable[[], Mapping[str, Any]], facts: Callable[[], Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """`overview` is this manager's, `facts` tells of its job servers, by address."""
        self._overview = overview
        self._facts = facts
        self._turn = BoundedSemaphore()
        self._made: Summary | None = None
        self._until = 0.0

    def __call__(self) -> Summary:
        """The summary. Those who ask while it is made wait for it."""
        with self._turn:
            if self._made is None or self._until <= time.monotonic():
                self._made = summary_of(self._overview(), __version__, self._facts())
                self._until = time.monotonic() + LASTS_S
            return self._made
