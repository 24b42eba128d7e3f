"""A pool's windows: other values of `min` and `max`, each from the times of a cron expression on for a while. Pure.

Cron's days and hours are those of the clocks in the window's time zone. A time that these clocks skip in spring comes
right after the gap, and one that they show twice in autumn counts once, the first time. Times are Unix seconds.

cronsim is asked for clock times without a zone: with one it misses starts where the clocks change by half an hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

from gearman_manager.config.resolve import ResolvedPool, ResolvedWindow
from gearman_manager.scaling.decision import Limit
from gearman_process.values.durations import format_duration

_DAY_S: Final = 86400.0
_SECOND: Final = timedelta(seconds=1)
#: How often a window may open again before it closes until no end of it is told any more.
_MOST_REOPENINGS: Final = 50
#: Within so many days the name of the day says which one is meant.
_DAYS_BY_NAME: Final = 6


class Windowed(Protocol):
    """A pool, as far as its bounds are concerned."""

    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def windows(self) -> Sequence[ResolvedWindow]: ...


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """The `min` and `max` that hold at a time."""

    minimum: int
    maximum: int
    minimum_by: Limit | None = None  #: the window that sets it; None if none does
    maximum_by: Limit | None = None
    reason: str = ""  #: both windows, as a sentence; empty if no window sets either
    next_change: float = math.inf  #: when other windows may be open


@dataclass(frozen=True, slots=True)
class Opening:
    """A window that is open."""

    window: ResolvedWindow
    next_change: float  #: when it closes, as far as that was looked for
    until: float | None  #: when it closes; None if it opens again and again before that


def next_start(window: ResolvedWindow, unix_time: float) -> float:
    """The first time after `unix_time` at which the window opens; infinite if there is none within fifty years."""
    zone = ZoneInfo(window.time_zone)
    for start in CronSim(window.cron, _clock_time(unix_time, zone)):
        if (moment := _moment(start, zone)) > unix_time:
            return moment
    return math.inf


def opening(window: ResolvedWindow, unix_time: float) -> Opening | None:
    """The window's opening at a time; None while it is closed."""
    closes_at = _closing(window, unix_time)
    if closes_at is None or closes_at <= unix_time:
        return None
    for _ in range(_MOST_REOPENINGS):
        later = _closing(window, closes_at)  # of the last start until then
        if later is None or later <= closes_at:
            return Opening(window, closes_at, closes_at)
        closes_at = later
    return Opening(window, closes_at, None)


def bounds_at(pool: Windowed, unix_time: float) -> PoolBounds:
    """The pool's bounds at a time.

    Where several windows are open, the highest `min` and the lowest `max` hold, and `max` where `min` is above it.
    """
    openings = [opening(window, unix_time) for window in pool.windows]
    changes = [
        next_start(window, unix_time) if found is None else found.next_change
        for window, found in zip(pool.windows, openings, strict=True)
    ]
    is_open = [found for found in openings if found is not None]
    low = max((o for o in is_open if o.window.min is not None), key=lambda o: o.window.min or 0, default=None)
    high = min((o for o in is_open if o.window.max is not None), key=lambda o: o.window.max or 0, default=None)
    minimum = pool.min if low is None or low.window.min is None else low.window.min
    maximum = pool.max if high is None or high.window.max is None else high.window.max
    next_change = min(changes, default=math.inf)
    reason = _reason(low, high, (minimum, maximum), unix_time)
    minimum_by = None if low is None else _limit("min", minimum, low, unix_time)
    maximum_by = None if high is None else _limit("max", maximum, high, unix_time)
    if minimum > maximum:
        return PoolBounds(maximum, maximum, maximum_by, maximum_by, reason, next_change)
    return PoolBounds(minimum, maximum, minimum_by, maximum_by, reason, next_change)


def bounds_between(pool: Windowed, start_s: float, end_s: float) -> Iterator[tuple[float, PoolBounds]]:
    """The pool's bounds from each moment on, the first one `start_s`, as far as they change before `end_s`."""
    moment = start_s
    while moment < end_s or moment == start_s:
        bounds = bounds_at(pool, moment)
        yield moment, bounds
        moment = bounds.next_change


def in_force(pool: ResolvedPool, unix_time: float) -> ResolvedPool:
    """The pool with the bounds that hold at a time."""
    if not pool.windows:
        return pool
    bounds = bounds_at(pool, unix_time)
    return replace(pool, min=bounds.minimum, max=bounds.maximum)


class Timetable:
    """The bounds of one pool, worked out anew only when a window opens or closes, or the clock was set back."""

    def __init__(self, pool: Windowed) -> None:
        self._pool = pool
        self._since = math.inf
        self._bounds = PoolBounds(pool.min, pool.max)

    def at(self, unix_time: float) -> PoolBounds:
        """The bounds at a time."""
        if self._pool.windows and not self._since <= unix_time < self._bounds.next_change:
            self._bounds = bounds_at(self._pool, unix_time)
            self._since = unix_time
        return self._bounds


# --- clock times and moments


def _closing(window: ResolvedWindow, unix_time: float) -> float | None:
    """When the window closes that has opened last, at `unix_time` or before; None if it never has.

    Whole days are those of the calendar, of 23 to 25 hours; anything else is so many seconds (as in RFC 5545, 3.3.6).
    """
    zone = ZoneInfo(window.time_zone)
    start = _last_start(window.cron, zone, unix_time)
    if start is None:
        return None
    if window.length_s % _DAY_S == 0:
        return _moment(start + timedelta(seconds=window.length_s), zone)
    return _moment(start, zone) + window.length_s


def _last_start(cron: str, zone: tzinfo, unix_time: float) -> datetime | None:
    """The last clock time that fits and that has come by `unix_time`."""
    for start in CronSim(cron, _latest_shown(unix_time, zone) + _SECOND, reverse=True):
        if _moment(start, zone) <= unix_time:
            return start
    return None


def _clock_time(unix_time: float, zone: tzinfo) -> datetime:
    """The time that the zone's clocks show, without the fraction of its second."""
    return datetime.fromtimestamp(math.floor(unix_time), zone).replace(tzinfo=None, fold=0)


def _latest_shown(unix_time: float, zone: tzinfo) -> datetime:
    """A clock time no earlier than any that has been shown by then. Clocks that were put back have shown later ones."""
    now = datetime.fromtimestamp(math.floor(unix_time), zone)
    put_back = (now.replace(fold=0).utcoffset() or timedelta()) - (now.utcoffset() or timedelta())
    return now.replace(tzinfo=None, fold=0) + put_back


def _moment(clock_time: datetime, zone: tzinfo) -> float:
    """When the zone's clocks show this time first, or the end of the gap in which they skip it."""
    moment = clock_time.replace(tzinfo=zone).timestamp()
    if _clock_time(moment, zone) == clock_time:
        return moment
    before, after = clock_time.replace(tzinfo=zone, fold=1).timestamp(), moment
    while after - before > 1:
        middle = (before + after) // 2
        if _clock_time(middle, zone) < clock_time:
            before = middle
        else:
            after = middle
    return after


# --- sentences


def describe_window(window: ResolvedWindow) -> str:
    """The window in the words of the configuration: `min 20 for 2h from 0 8 * * mon-fri Europe/Berlin`."""
    bounds = [f"{key} {value}" for key, value in (("min", window.min), ("max", window.max)) if value is not None]
    length = format_duration(window.length_s)
    return f"{', '.join(bounds)} for {length} from {window.cron} {window.time_zone}"


def _reason(low: Opening | None, high: Opening | None, bounds: tuple[int, int], unix_time: float) -> str:
    minimum, maximum = bounds
    parts = []
    if low is not None and low is high:
        parts.append(_told(f"min {minimum}, max {maximum}", low, unix_time))
    else:
        if low is not None:
            parts.append(_told(f"min {minimum}", low, unix_time))
        if high is not None:
            parts.append(_told(f"max {maximum}", high, unix_time))
    if minimum > maximum:
        parts.append(f"min is lowered to max, {maximum}")
    return "; ".join(parts)


def _told(bounds: str, opened: Opening, unix_time: float) -> str:
    until = _until(opened, unix_time)
    return f"{bounds}{' until ' if until else ''}{until} ({_name(opened.window)})"


def _limit(key: str, value: int, opened: Opening, unix_time: float) -> Limit:
    """The bound as the scaler's decisions name it."""
    name, until = _name(opened.window), _until(opened, unix_time)
    return Limit(f"{key} of the {name}", f"{key} {value} holds", name, until_text=until)


def _name(window: ResolvedWindow) -> str:
    return f"window {window.cron} {window.time_zone}"


def _until(opened: Opening, unix_time: float) -> str:
    return "" if opened.until is None else _day_and_time(opened.until, unix_time, opened.window.time_zone)


def _day_and_time(moment: float, unix_time: float, zone_name: str) -> str:
    """`10:00`, `Mon 10:00` or `2026-03-30 10:00`: what tells it from every other time, seen from `unix_time`."""
    zone = ZoneInfo(zone_name)
    then, today = datetime.fromtimestamp(moment, zone), datetime.fromtimestamp(unix_time, zone).date()
    days = (then.date() - today).days
    clock = f"{then:%H:%M:%S}" if then.second else f"{then:%H:%M}"
    return clock if days == 0 else f"{then:%a} {clock}" if days <= _DAYS_BY_NAME else f"{then:%Y-%m-%d} {clock}"
