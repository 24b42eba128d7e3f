"""The bound on the connections of a port. When it is full, the slowest peer makes room. Pure.

Peers that send nothing, or send byte by byte, cost an attacker nothing. So a new connection is not refused while one
of them has a place: it takes the place of that one, of the address with the most of them, whose request has been
incomplete for the longest time. A request that is complete keeps its place until it is answered.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Visitor(Protocol):
    """A connection that has a place."""

    @property
    def address(self) -> str:
        """The peer's host."""

    @property
    def reading_since(self) -> float | None:
        """Since when it has waited for a whole request; None while it carries one out."""

    def make_room(self) -> None:
        """End it. It leaves its place when it has ended."""


class Places:
    """The places of one port."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._visitors: set[Visitor] = set()

    def enter(self, visitor: Visitor) -> bool:
        """Give a connection a place, if need be that of another one. False: all are busy with whole requests."""
        if len(self._visitors) >= self._most:
            slowest = self._slowest()
            if slowest is None:
                return False
            self._visitors.discard(slowest)
            slowest.make_room()
        self._visitors.add(visitor)
        return True

    def leave(self, visitor: Visitor) -> None:
        """The connection has ended."""
        self._visitors.discard(visitor)

    def _slowest(self) -> Visitor | None:
        reading = [(since, visitor) for visitor in self._visitors if (since := visitor.reading_since) is not None]
        if not reading:
            return None
        by_address = Counter(visitor.address for _, visitor in reading)
        return min(reading, key=lambda entry: (-by_address[entry[1].address], entry[0]))[1]
