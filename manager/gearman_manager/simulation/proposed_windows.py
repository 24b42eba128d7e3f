"""Proposed windows, and the bounds that a pool has with them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from gearman_manager.scaling.steps import Field
from gearman_manager.simulation.patterns import DAYS, Span

#: A pool's bounds from each moment on, in Unix seconds.
Bounds = Sequence[tuple[float, Field]]

_SUNDAY: Final = 6


@dataclass(frozen=True, slots=True)
class Window:
    """A proposed window, by the local clock."""

    weekdays: frozenset[int]  #: of its beginning
    start_minute: int  #: of the day
    minutes: int
    minimum: int

    @property
    def cron(self) -> str:
        """Its beginnings, as a cron expression."""
        hour, minute = divmod(self.start_minute, 60)
        return f"{minute} {hour} * * {cron_days(self.weekdays)}"

    def times(self, covered: Span, zone: tzinfo) -> Iterator[tuple[float, float]]:
        """From when to when it is open, in Unix seconds."""
        for number in range(-1, (covered.last - covered.first).days + 1):
            day = covered.first + timedelta(days=number)
            if day.weekday() in self.weekdays:
                start = datetime(day.year, day.month, day.day, *divmod(self.start_minute, 60), tzinfo=zone)
                yield start.timestamp(), start.timestamp() + self.minutes * 60


def raised(
    bounds: Bounds, times: Sequence[tuple[float, float, int]], *, lifts_max: bool = False
) -> list[tuple[float, Field]]:
    """The bounds with a `min` that is at least so high within some times, as far as `max` allows, or with `max` too."""
    first_s = bounds[0][0]
    changes: list[tuple[float, int, int]] = []
    for start_s, end_s, minimum in times:
        if end_s > first_s:
            changes += [(max(start_s, first_s), minimum, 1), (end_s, minimum, -1)]
    changes.sort()
    moments = sorted({moment for moment, _ in bounds} | {moment for moment, _, _ in changes})
    open_minima: Counter[int] = Counter()
    result: list[tuple[float, Field]] = []
    at, change, current = 0, 0, bounds[0][1]
    for moment in moments:
        while at < len(bounds) and bounds[at][0] <= moment:
            current, at = bounds[at][1], at + 1
        while change < len(changes) and changes[change][0] <= moment:
            open_minima[changes[change][1]] += changes[change][2]
            change += 1
        minimum = max((number for number, count in open_minima.items() if count > 0), default=0)
        maximum = max(current.maximum, minimum) if lifts_max else current.maximum
        now = replace(current, minimum=max(current.minimum, min(minimum, maximum)), maximum=maximum)
        if not result or result[-1][1] != now:
            result.append((moment, now))
    return result


def part_of(bounds: Bounds, start_s: float, end_s: float) -> Bounds:
    """The bounds that hold in a part of the time."""
    first = max(0, bisect_right(bounds, start_s, key=lambda one: one[0]) - 1)
    last = bisect_right(bounds, end_s, key=lambda one: one[0])
    return [(start_s, bounds[first][1]), *bounds[first + 1 : last]]


def cron_days(weekdays: frozenset[int]) -> str:
    """The last field of a cron expression."""
    if len(weekdays) == len(DAYS):
        return "*"
    days = sorted(weekdays)
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1 and days[-1] < _SUNDAY:  # a range ends before cron's day 0
        return f"{DAYS[days[0]]}-{DAYS[days[-1]]}"
    return ",".join(DAYS[day] for day in days)
