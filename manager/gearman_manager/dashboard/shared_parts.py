"""Parts of pages that many have open at the same time: made once for all of them.

A part is made again when it is so old that the making takes at most a small share of the processor. The script is told
that age, and asks no sooner than that after something has happened: so it never gets a part from before.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from gevent.lock import BoundedSemaphore

#: The share of one processor that the making of one part may take, and the bounds of its age.
SHARE: Final = 0.005
SHORTEST_S: Final = 0.2
LONGEST_S: Final = 5.0
#: One for each role that looks.
_MOST_KEPT: Final = 16
#: Stands in a shared part where each reader's own token goes; nobody can know it and write it into a text.
TOKEN_PLACE: Final = secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A part, and how long it may be shown. Moments are monotonic seconds."""

    text: str
    until: float
    lasts_s: float


class SharedParts:
    """Keeps the last parts, by what they depend on."""

    def __init__(self, share: float = SHARE, longest_s: float = LONGEST_S) -> None:
        """`share` is the share of one processor that the making of one part may take, unless that made it older than
        `longest_s`."""
        self._share, self._longest_s = share, longest_s
        self._parts: dict[Hashable, SharedPart] = {}
        self._turn = BoundedSemaphore()

    def get(self, key: Hashable, make: Callable[[], str]) -> SharedPart:
        """The part for this key, if need be a new one. Those who ask while it is made wait for it."""
        part = self._parts.get(key)
        if part is None or part.until <= time.monotonic():
            with self._turn:
                return self._made(key, make)
        return part

    def _made(self, key: Hashable, make: Callable[[], str]) -> SharedPart:
        now = time.monotonic()
        part = self._parts.get(key)  # another one may have made it meanwhile
        if part is None or part.until <= now:
            began = time.thread_time()
            text = make()
            lasts_s = min(max(SHORTEST_S, (time.thread_time() - began) / self._share), self._longest_s)
            self._parts = {each: kept for each, kept in self._parts.items() if kept.until > now and each != key}
            while len(self._parts) >= _MOST_KEPT:
                del self._parts[next(iter(self._parts))]
            part = self._parts[key] = SharedPart(text, now + lasts_s, lasts_s)
        return part
