"""The parts of gevent's event loop that the server uses, with types; a test has to imitate only these.

A room is given its loop; only the entry points ask gevent for one. Keep a reference to each watcher: one that is
garbage-collected watches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVarTuple

#: Events of a descriptor.
READABLE: Final = 1
WRITABLE: Final = 2

Arguments = TypeVarTuple("Arguments")


class Watcher(Protocol):
    """Calls back in the loop, at each event that it watches for, from `start` until `stop`."""

    @property
    def active(self) -> bool:
        """Whether it is started."""

    def start(self, callback: Callable[[*Arguments], object], /, *arguments: *Arguments) -> None:
        """Call `callback` with these arguments from now on."""

    def stop(self) -> None:
        """Don't call back until it is started again. Stopping twice does nothing."""

    def close(self) -> None:
        """Release its system resources; it can't be started again."""


class Timer(Watcher, Protocol):
    """Calls back when its time is over, and again and again if it was made to repeat.

    gevent's timer keeps its time for one start only: started again it calls back at once or, after a stop, when the
    rest of its time is over. `Pause` can be started again and again.
    """

    def again(self, callback: Callable[[*Arguments], object], /, *arguments: *Arguments) -> None:
        """Start anew, whether it is started or not: the first call comes after the time by which it repeats."""


class Check(Watcher, Protocol):
    """Calls back in each pass, after the wait."""

    #: Those with a higher one are called before the others of the pass.
    priority: int


class Bell(Watcher, Protocol):
    """Calls back after another thread has rung it."""

    def send(self) -> None:
        """Ring it. This is the only method here that any thread may call."""


class Loop(Protocol):
    """Makes watchers. All of them call back on the loop's own thread."""

    def io(self, descriptor: int, events: int, /) -> Watcher:
        """Watch a descriptor for `READABLE`, `WRITABLE`, or both."""

    def timer(self, after_s: float, repeat_s: float = 0.0, /) -> Timer:
        """Wait for a time, counted from the timer's start; then repeat every `repeat_s`, unless that is 0."""

    def prepare(self) -> Watcher:
        """Watch for the end of each pass, before the loop would wait."""

    def async_(self) -> Bell:
        """Watch for a ring from another thread."""

    def signal(self, number: int, /) -> Watcher:
        """Watch for a signal to this process."""


class CheckingLoop(Loop, Protocol):
    """A loop in which something can be called before all else."""

    #: The highest priority of a watcher.
    MAXPRI: int

    def check(self) -> Check:
        """Watch for the moment in each pass when the loop has waited."""


def before_all(loop: CheckingLoop) -> Watcher:
    """A watcher that calls back in each pass after the wait, and before all others."""
    watcher = loop.check()
    watcher.priority = loop.MAXPRI
    return watcher


class Pause:
    """Calls back once, a fixed time after each start."""

    def __init__(self, loop: Loop, length_s: float) -> None:
        self._timer = loop.timer(length_s, length_s)
        self.stop = self._timer.stop

    @property
    def is_running(self) -> bool:
        """Whether it is started, and its time is not over."""
        return self._timer.active

    def start(self, callback: Callable[[*Arguments], object], /, *arguments: *Arguments) -> None:
        """Have `callback` called with these arguments once the whole time is over. One that is running starts anew."""
        self._timer.again(self._end, callback, arguments)

    def _end(self, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._timer.stop()
        callback(*arguments)
