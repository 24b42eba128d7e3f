"""The last events, from which each follower reads at its own pace: no queue for each, and none that grows. Pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

#: Bounds of the ring; a follower that is further behind begins anew.
MOST_EVENTS: Final = 2000
MOST_BYTES: Final = 4 << 20


class EventRing:
    """Numbers events, and keeps the last ones. `era` tells this ring's numbers apart from those of every other one."""

    def __init__(self, era: str) -> None:
        self._era = era
        self._events: deque[bytes] = deque()
        self._bytes = 0
        #: The number of the last event.
        self._last = 0

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self._id(self._last)

    def add(self, kind: str, content: Mapping[str, Any] | list[Any]) -> None:
        """A further event, in the form of server-sent events."""
        self._last += 1
        data = json.dumps(content, separators=(",", ":"))
        event = f"id: {self._id(self._last)}\nevent: {kind}\ndata: {data}\n\n".encode()
        self._events.append(event)
        self._bytes += len(event)
        while len(self._events) > MOST_EVENTS or (self._bytes > MOST_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft())

    def after(self, last_id: str) -> list[bytes] | None:
        """The events after the one with this id; None: some of them are not here any more, or it is none of ours."""
        era, _, number = last_id.rpartition("-")
        if era != self._era or not (number.isascii() and number.isdecimal()) or len(number) > 15:
            return None
        missing = self._last - int(number)
        if not 0 <= missing <= len(self._events):
            return None
        return list(self._events)[len(self._events) - missing :]

    def reset(self) -> bytes:
        """The event that tells a follower to begin with a new overview; what comes after it has further ids."""
        return f"id: {self.last_id}\nevent: reset\ndata: {{}}\n\n".encode()

    def _id(self, number: int) -> str:
        return f"{self._era}-{number}"
