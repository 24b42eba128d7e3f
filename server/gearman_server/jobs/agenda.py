"""The time as the broker knows it, and what it has to do at a time: the few things that are no job's own deadline.

Pure: neither clock is asked here, the monotonic time is handed to the broker and the wall clock is a function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

#: Something to be done; it is handed the monotonic time.
Act = Callable[[float], None]


class Agenda:
    """Things to do, by the monotonic time at which they are due."""

    def __init__(self, unix_time: Callable[[], float]) -> None:
        #: The monotonic time as last handed to the broker.
        self.now = 0.0
        #: The wall clock.
        self.unix_time = unix_time
        self._heap: list[tuple[float, int, Act]] = []
        self._serial = count()  # of equally due things the one that was added first comes first
        #: When the first is due; None when there is nothing to do.
        self.next_due: float | None = None

    def add(self, due: float, act: Act) -> None:
        """Have `act` called once `due` has come. A time in the past means as soon as possible."""
        heappush(self._heap, (due, next(self._serial), act))
        self.next_due = self._heap[0][0]

    def alarm(self, act: Act) -> Alarm:
        """An alarm that calls `act`. It is not set yet."""
        return Alarm(self, act)

    def run_due(self, now: float) -> None:
        """Do what is due. What is added meanwhile has its turn at the next call."""
        due: deque[tuple[float, int, Act]] = deque()
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap))
        try:
            while due:
                due.popleft()[2](now)
        finally:
            for entry in due:  # one that raises must not take the others along
                heappush(self._heap, entry)
            self.next_due = self._heap[0][0] if self._heap else None


class Alarm:
    """Calls `act` once, at the earliest of the times that were asked for. After that it can be set again."""

    __slots__ = ("_act", "_agenda", "due")

    def __init__(self, agenda: Agenda, act: Act) -> None:
        self._agenda = agenda
        self._act = act
        #: When it rings; None while it is not set.
        self.due: float | None = None

    def by(self, due: float) -> None:
        """Ring at that time, unless it rings earlier anyway."""
        if self.due is None or due < self.due:
            self.due = due
            self._agenda.add(due, self._ring)

    def turn_off(self) -> None:
        """Do not ring, until it is set again."""
        self.due = None

    def _ring(self, now: float) -> None:
        if self.due is None or now < self.due:
            return  # this time has been overtaken: an earlier one was asked for later, or it was turned off
        self.due = None
        self._act(now)
