"""The broker's time, the acts that are due at a time (except for running jobs' deadlines), and long work in steps.

Pure: it reads no clock. The monotonic time is handed to the broker, and the wall clock is a function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Final

from gearman_server.compiled.python_class import python_class

#: The number of jobs or functions with which one step of a chore deals: half a millisecond of work.
STEP: Final = 100

#: An act that is due at a time; it is handed the monotonic time.
Act = Callable[[float], None]


@python_class
class Chores(deque[Iterator[None]]):
    """Long work that is done a step at a time, so that others are served in between. True while there is any.

    Each is an iterator that does its next step when it is asked for the next item.
    """

    #: Whether the server ends, and does at once what is left: searches that may take minutes give up.
    are_last = False

    def start(self, steps: Iterator[None]) -> None:
        """Do the first step now, and each of the others in its turn, when `step` is called."""
        for _ in steps:
            self.append(steps)
            break

    def step(self) -> None:
        """Do the next step of the chore that has waited longest. One that raises is over."""
        self.start(self.popleft())


class Agenda:
    """Acts, by the monotonic time at which they are due."""

    def __init__(self, unix_time: Callable[[], float]) -> None:
        #: The monotonic time that was last handed to the broker.
        self.now = 0.0
        #: The wall clock.
        self.unix_time = unix_time
        self.chores = Chores()
        self._heap: list[tuple[float, int, Act]] = []
        self._serial = count()  # acts that are due at the same time run in the order in which they were added
        #: When the first act is due; None if there is none.
        self.next_due: float | None = None

    def add(self, due: float, act: Act) -> None:
        """Have `act` called once `due` has come. A time in the past means as soon as possible."""
        heappush(self._heap, (due, next(self._serial), act))
        self.next_due = self._heap[0][0]

    def alarm(self, act: Act) -> Alarm:
        """An alarm that calls `act`. It is not set yet."""
        return Alarm(self, act)

    def run_due(self, now: float) -> None:
        """Do every act that is due. One that is added meanwhile has its turn at the next call."""
        due: deque[tuple[float, int, Act]] = deque()
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap))
        try:
            while due:
                due.popleft()[2](now)
        finally:
            for entry in due:  # if one raises, the others remain due
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
        """Do not ring until it is set again."""
        self.due = None

    def _ring(self, now: float) -> None:
        if self.due is None or now < self.due:
            return  # obsolete: an earlier time was set after this one, or the alarm was turned off
        self.due = None
        self._act(now)
