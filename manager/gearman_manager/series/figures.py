"""The figures of a point, how two points become one, and their form in the file. Pure.

A point is a mapping from a figure's place to a whole number; what is not there is 0. Most figures are 0 in most
minutes, so the stored form has a bit for each figure, and only the others as numbers, in few bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

Point = dict[int, int]
#: Of the stored form; the others are not read.
_VERSION: Final = 1
#: Upper bounds of the buckets for waiting and run times, in seconds, as our job server has them.
BOUNDS_S: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    *(5.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0),
)
BUCKETS: Final = len(BOUNDS_S) + 1


class Figures:
    """Names of figures with their places. New ones come last, and none goes: files of earlier versions are read."""

    def __init__(self, names: Sequence[str], largest: Iterable[str] = (), last: Iterable[str] = ()) -> None:
        """Two points become one by the sum of each figure; of `largest` the larger one is taken, of `last` the later
        one that is not 0."""
        self.names = tuple(names)
        self.place: Mapping[str, int] = {name: place for place, name in enumerate(names)}
        self._largest = frozenset(self.place[name] for name in largest)
        self._last = frozenset(self.place[name] for name in last)

    def point(self, **figures: int) -> Point:
        """A point of figures by name."""
        return {self.place[name]: value for name, value in figures.items() if value}

    def add(self, point: Point, later: Mapping[int, int]) -> None:
        """Add a later point to one."""
        for place, value in later.items():
            before = point.get(place)
            if before is None or place in self._last:
                point[place] = value
            elif place not in self._largest:
                point[place] = before + value
            elif value > before:
                point[place] = value


#: Of a pool: sums over the samples of a minute, unless they are counts or the largest ones. `limit` is the number of
#: the limit's name, `held` the number of samples at which one held.
POOL: Final = Figures(
    (
        *("samples", "starting", "idle", "busy", "wanted", "target", "waiting", "running", "memory_kb", "held"),
        *("limit", "waiting_max", "oldest_ms", "done", "failed", "cpu_ms", "spawned", "crashed", "grown", "shrunk"),
    ),
    largest=("waiting_max", "oldest_ms"),
    last=("limit",),
)
#: What the job servers count of a function's jobs.
COUNTERS: Final = (
    *("submitted", "coalesced", "started", "completed", "failed", "timed_out", "retried", "throttled", "dropped"),
    *("expired", "stopped"),
)
WAITED: Final = tuple(f"waited_{bucket}" for bucket in range(BUCKETS))
RAN: Final = tuple(f"ran_{bucket}" for bucket in range(BUCKETS))
FUNCTION: Final = Figures(
    ("samples", "waiting", "running", "waiting_max", "oldest_ms", *COUNTERS, "waited_ms", *WAITED, "ran_ms", *RAN),
    largest=("waiting_max", "oldest_ms"),
)


def packed(point: Mapping[int, int]) -> bytes:
    """The stored form."""
    places = sorted(place for place, value in point.items() if value > 0)
    present = sum(1 << place for place in places)
    size = (present.bit_length() + 7) // 8
    text = bytearray([_VERSION, size]) + present.to_bytes(size, "little")
    for place in places:
        number = point[place]
        while number > 0x7F:
            text.append(number & 0x7F | 0x80)
            number >>= 7
        text.append(number)
    return bytes(text)


def unpacked(text: bytes) -> Point:
    """The point of a stored form; an empty one of a form that is not known."""
    if len(text) < 2 or text[0] != _VERSION:
        return {}
    end = 2 + text[1]
    present = int.from_bytes(text[2:end], "little")
    numbers, number, shift = [], 0, 0
    for byte in text[end:]:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    places = (place for place in range(present.bit_length()) if present >> place & 1)
    return dict(zip(places, numbers, strict=False))
