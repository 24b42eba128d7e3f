"""The bound on the connections of a port. When it is full, the slowest peer makes room. Pure.

Peers that send nothing, or send byte by byte, cost an attacker nothing. So a new connection is not refused while one
of them has a place: it takes the place of that one, of the address with the most of them, whose request has been
incomplete for the longest time. A request that is complete keeps its place until it is answered; so that one address
can't fill the port with them, it gets three quarters of the places at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

_SHARE_OF_ONE_ADDRESS: Final = 0.75


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
        self._most_of_one = max(1, int(most * _SHARE_OF_ONE_ADDRESS))
        self._taken = 0
        self._by_address: dict[str, set[Visitor]] = {}

    def enter(self, visitor: Visitor) -> bool:
        """Give a connection a place, if need be that of another one. False: all that could make room are busy with
        whole requests."""
        same = self._by_address.get(visitor.address, set())
        if len(same) >= self._most_of_one:
            slowest = _slowest(same)
        elif self._taken >= self._most:
            groups = sorted(self._by_address.values(), key=len, reverse=True)
            slowest = next((found for group in groups if (found := _slowest(group)) is not None), None)
        else:
            self._add(visitor)
            return True
        if slowest is None:
            return False
        self.leave(slowest)
        slowest.make_room()
        self._add(visitor)
        return True

    def _add(self, visitor: Visitor) -> None:
        self._by_address.setdefault(visitor.address, set()).add(visitor)
        self._taken += 1

    def leave(self, visitor: Visitor) -> None:
        """The connection has ended. Leaving twice does nothing."""
        group = self._by_address.get(visitor.address)
        if group is None or visitor not in group:
            return
        self._taken -= 1
        group.discard(visitor)
        if not group:
            del self._by_address[visitor.address]


def _slowest(visitors: Iterable[Visitor]) -> Visitor | None:
    """The one whose request has been incomplete for the longest time."""
    slowest, oldest = None, float("inf")
    for visitor in visitors:
        since = visitor.reading_since
        if since is not None and since < oldest:
            slowest, oldest = visitor, since
    return slowest
