"""How long a peer may take, and how much memory the bodies of all connections may take together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gearman_process.http.messages import HttpRefusal

#: A body up to this size counts for nothing: the number of connections bounds them.
SMALL_BODY_BYTES: Final = 1 << 16
#: How long a larger body may take before it must make room for others.
UNDISTURBED_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """The bounds of one connection."""

    #: The request line and all headers.
    head_bytes: int = 1 << 14
    #: The time without a request.
    idle_s: float = 60.0
    #: From the first byte of a request to the end of its headers.
    head_s: float = 10.0
    #: In each such period of time a body must bring as many bytes, or end.
    pace_s: float = 10.0
    pace_bytes: int = 160 * 1024
    #: From the first byte of a request to its last.
    request_s: float = 600.0
    #: The time in which the peer must take each piece of an answer, and its size.
    send_s: float = 30.0
    send_bytes: int = 1 << 18
    #: How many bytes are still read, and how long, from a peer whose request was refused, so that it can read why.
    linger_bytes: int = 1 << 20
    linger_s: float = 2.0


class BodyMemory:
    """The memory for the bodies of all connections of a port. One body at a time may be larger than the whole of it.

    When it is used up, the body that has taken part of it for the longest time makes room, unless that is a short time.
    """

    def __init__(self, most_bytes: int) -> None:
        self._left_bytes = most_bytes
        self._large: BodyShare | None = None
        #: In the order of their beginnings.
        self._holders: dict[BodyShare, float] = {}

    def grow(self, share: BodyShare, size_bytes: int, now: float) -> None:
        """Let a body grow by so many bytes. `now` is monotonic.

        Raises:
            HttpRefusal: the other bodies leave no room.
        """
        share.seen_bytes += size_bytes
        wanted_bytes = max(0, share.seen_bytes - SMALL_BODY_BYTES) - share.taken_bytes
        if wanted_bytes <= 0 or share is self._large:
            return
        self._holders.setdefault(share, now)
        while not self._take(share, wanted_bytes):
            slowest, since = next(iter(self._holders.items()))
            if slowest is share or now - since < UNDISTURBED_S:
                text = "the requests of other peers have taken the memory for large bodies: try again"
                raise HttpRefusal(503, text, ("Retry-After", "1"))
            self.free(slowest)
            slowest.give_up()

    def _take(self, share: BodyShare, wanted_bytes: int) -> bool:
        if wanted_bytes <= self._left_bytes:
            self._left_bytes -= wanted_bytes
            share.taken_bytes += wanted_bytes
            return True
        if self._large is not None:
            return False
        self._left_bytes += share.taken_bytes
        share.taken_bytes = 0
        self._large = share
        return True

    def free(self, share: BodyShare) -> None:
        """Take a body's memory back."""
        self._left_bytes += share.taken_bytes
        share.taken_bytes = share.seen_bytes = 0
        self._holders.pop(share, None)
        if self._large is share:
            self._large = None


@dataclass(slots=True, eq=False)
class BodyShare:
    """What one connection's body has of the memory."""

    memory: BodyMemory
    #: Ends the connection, whose memory is already counted as free.
    give_up: Callable[[], None]
    seen_bytes: int = field(default=0, init=False)
    taken_bytes: int = field(default=0, init=False)

    def grow(self, size_bytes: int, now: float) -> None:
        """Do as `BodyMemory.grow`."""
        self.memory.grow(self, size_bytes, now)

    def free(self) -> None:
        """Do as `BodyMemory.free`."""
        self.memory.free(self)


class Pace:
    """Whether a body comes fast enough. Times are monotonic seconds."""

    def __init__(self, bounds: HttpBounds, started_at: float, now: float) -> None:
        self._bounds = bounds
        self._last_s = started_at + bounds.request_s
        self._due_s = now + bounds.pace_s
        self._size_bytes = 0

    def wait_s(self, now: float) -> float:
        """How long to wait for the next bytes.

        Raises:
            HttpRefusal: the body is too slow.
        """
        if now >= self._last_s:
            raise HttpRefusal(408, f"the request is not complete after {self._bounds.request_s:g} s")
        if now >= self._due_s:
            if self._size_bytes < self._bounds.pace_bytes:
                least = f"{self._bounds.pace_bytes} bytes in {self._bounds.pace_s:g} s"
                raise HttpRefusal(408, f"the body comes too slowly: less than {least}")
            self._due_s = now + self._bounds.pace_s
            self._size_bytes = 0
        return min(self._due_s, self._last_s) - now

    def note(self, size_bytes: int) -> None:
        """So many bytes have come."""
        self._size_bytes += size_bytes
