"""The deadlines of many things of which most are over long before. Pure; times are monotonic seconds.

What is over is removed once there is more of it than of the rest: a million jobs with a timeout take no memory when
they are done.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, Generic, Protocol, TypeVar

#: With fewer entries nothing is searched for what is over.
_FEW: Final = 1000


class Ends(Protocol):
    """Something that may be over before its deadline."""

    @property
    def is_over(self) -> bool: ...


ItemT = TypeVar("ItemT", bound=Ends)


class Deadlines(Generic[ItemT]):
    """Things with a deadline each."""

    __slots__ = ("_added", "_heap", "_limit")

    def __init__(self) -> None:
        #: (deadline, number, thing); the numbers keep equal deadlines in order.
        self._heap: list[tuple[float, int, ItemT]] = []
        self._added = 0
        #: The length at which to search for what is over.
        self._limit = _FEW

    def add(self, item: ItemT, due: float) -> None:
        """Note the deadline of `item`."""
        heap = self._heap
        self._added += 1
        heappush(heap, (due, self._added, item))
        if len(heap) > self._limit:
            heap[:] = [entry for entry in heap if not entry[2].is_over]
            heapify(heap)
            self._limit = max(_FEW, 2 * len(heap))

    def next_due(self) -> float:
        """The earliest deadline of something that is not over; infinite if there is none."""
        heap = self._heap
        while heap and heap[0][2].is_over:
            heappop(heap)
        return heap[0][0] if heap else inf

    def take_due(self, now: float) -> list[ItemT]:
        """Remove what has reached its deadline and is not over, and return it."""
        found = []
        while self.next_due() <= now:
            found.append(heappop(self._heap)[2])
        return found
