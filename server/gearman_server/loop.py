"""The event loop as the server uses it: what gevent's loop has, with types, and as much of it as a test has to imitate.

A room is handed its loop; only the entry points ask gevent for one. A watcher that nobody holds is collected, and then
watches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVarTuple

#: What a descriptor is watched for.
READABLE: Final = 1
WRITABLE: Final = 2

Arguments = TypeVarTuple("Arguments")


class Watcher(Protocol):
    """Calls back, in the loop, whenever what it watches happens, from `start` until `stop`."""

    @property
    def active(self) -> bool:
        """Whether it is started."""

    def start(self, callback: Callable[[*Arguments], object], /, *arguments: *Arguments) -> None:
        """Have `callback` called with these arguments from now on."""

    def stop(self) -> None:
        """Call back no more, until it is started again. Stopping twice does nothing."""

    def close(self) -> None:
        """Give up what it holds of the system; it can't be started again."""


class Timer(Watcher, Protocol):
    """Calls back once its time is over, and again and again if it was made to repeat.

    gevent's timer has its time but once. Started again it calls back at once, or, after a stop, when the rest of its
    time is over: to wait for the whole time once more takes a new timer.
    """


class Bell(Watcher, Protocol):
    """Calls back after another thread has rung it."""

    def send(self) -> None:
        """Ring it. The one method here that any thread may call."""


class Loop(Protocol):
    """Makes watchers, all of which call back on the loop's own thread."""

    def io(self, descriptor: int, events: int, /) -> Watcher:
        """For a descriptor that becomes `READABLE`, `WRITABLE`, or one of both."""

    def timer(self, after_s: float, repeat_s: float = 0.0, /) -> Timer:
        """For the end of some time, counted from its start; then every `repeat_s`, if that is not 0."""

    def prepare(self) -> Watcher:
        """For the end of each pass, before the loop would wait."""

    def async_(self) -> Bell:
        """For a ring from another thread."""

    def signal(self, number: int, /) -> Watcher:
        """For a signal to this process."""
