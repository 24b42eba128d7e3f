"""What job servers have counted of the jobs of functions: the answers to `counts`, and what is new in them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gearman_client.text import unescaped
from gearman_manager.series.figures import BOUNDS_S, COUNTERS, FUNCTION, RAN, WAITED, Point

_END: Final = b"."
_PLACES: Final[Mapping[str, int]] = {name: FUNCTION.place[name] for name in COUNTERS}
_WAITING, _RUNNING, _OLDEST = (FUNCTION.place[name] for name in ("waiting", "running", "oldest_ms"))
_WAITED_MS, _RAN_MS = FUNCTION.place["waited_ms"], FUNCTION.place["ran_ms"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server has counted of one function since it counts, and the state of its queue now."""

    total: Point
    waiting: int
    running: int
    oldest_ms: int


def parsed(answer: bytes, wanted: Collection[str], pause: Callable[[], None]) -> tuple[str, dict[str, Counted]]:
    """Since when the server counts, as a text that each start of the counting has for itself; and what it has counted
    of the wanted functions. `pause` is called between lines: there can be many.

    Raises:
        ValueError: it is no answer to `counts`.
    """
    lines = answer.split(b"\n")
    word, since, names, bounds = lines[0].split(b"\t")
    if word != b"since":
        raise ValueError("it does not begin with `since`")
    counters = [_PLACES.get(name) for name in names.decode().split()]
    buckets = [bisect_left(BOUNDS_S, float(bound)) for bound in bounds.split()] + [len(BOUNDS_S)]
    functions: dict[str, Counted] = {}
    for line in lines[1:]:
        if line == _END:
            return since.decode(), functions
        pause()
        columns = line.split(b"\t")
        name = unescaped(columns[0]).decode("utf-8", "backslashreplace")
        if name in wanted:
            functions[name] = _counted(columns, counters, buckets)
    raise ValueError("it has no end")


def _counted(columns: Sequence[bytes], counters: Sequence[int | None], buckets: Sequence[int]) -> Counted:
    _, counts, now, waited_ms, waited, ran_ms, ran = columns
    total = {
        place: int(count)
        for place, count in zip(counters, counts.split(), strict=True)
        if place is not None and count != b"0"
    }
    for place, sum_ms, names, numbers in ((_WAITED_MS, waited_ms, WAITED, waited), (_RAN_MS, ran_ms, RAN, ran)):
        total[place] = int(sum_ms)
        for bucket, number in zip(buckets, numbers.split(), strict=True):
            if number != b"0":
                at = FUNCTION.place[names[bucket]]
                total[at] = total.get(at, 0) + int(number)
    waiting, running, oldest_ms = map(int, now.split())
    return Counted(total, waiting, running, oldest_ms)


class Differences:
    """What is new since the last answer of one server."""

    def __init__(self) -> None:
        self._since = ""
        self._before: dict[str, Point] = {}

    def take(self, since: str, functions: Mapping[str, Counted]) -> Iterator[tuple[str, Point]]:
        """By function, a point for what is new.

        Of a server's first answer nothing is: nobody knows when that was. One that has begun to count anew, because it
        was restarted, has begun at 0; and so has a function that was forgotten and came again.
        """
        is_first, is_anew = not self._since, since != self._since
        self._since = since
        before, self._before = ({} if is_anew else self._before), {name: each.total for name, each in functions.items()}
        for name, counted in functions.items():
            point: Point = {} if is_first else _new(before.get(name, {}), counted.total)
            for place, value in (
                (_WAITING, counted.waiting),
                (_RUNNING, counted.running),
                (_OLDEST, counted.oldest_ms),
            ):
                if value:
                    point[place] = value
            yield name, point


def _new(before: Point, now: Point) -> Point:
    if any(now.get(place, 0) < count for place, count in before.items()):
        before = {}
    return {place: count - before.get(place, 0) for place, count in now.items() if count > before.get(place, 0)}
