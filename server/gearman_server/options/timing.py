"""The due times of a schedule: by a cron expression in a time zone, or at even intervals. Pure.

Times are Unix seconds. Cron's days and hours are those of the zone's clocks. Changes to and from daylight saving time
are treated as by Debian's cron: a run at a skipped hour comes right after the gap, a run at a repeated hour is due
once, and a run every few minutes or hours (a field of them begins with `*`) goes on evenly.

For the last kind cronsim is asked for clock times without a zone: with one it goes on by whole hours, and so misses
runs where the clocks change by half an hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from datetime import tzinfo

#: Anything more frequent is a worker's loop, not a schedule.
SHORTEST_INTERVAL_S: Final = 1.0
DEFAULT_ZONE: Final = "UTC"
_MAX_EXPRESSION_CHARACTERS: Final = 256
_DAY_S: Final = 86400
_SECOND: Final = timedelta(seconds=1)


class Timing(Protocol):
    """Due times."""

    def next_after(self, unix_time: float) -> float:
        """The first due time after `unix_time`."""

    def __str__(self) -> str:
        """The timing as a text; a `ScheduleMark` holds it."""


@dataclass(frozen=True, slots=True)
class Every:
    """Due times at even intervals, counted from 1970: so restarts do not move them, and `10m` means :00, :10, :20 …"""

    interval_s: float

    def next_after(self, unix_time: float) -> float:
        """The next multiple of the interval."""
        return (math.floor(unix_time / self.interval_s) + 1) * self.interval_s

    def __str__(self) -> str:
        return f"every {self.interval_s:g} s"


@dataclass(frozen=True, slots=True)
class Cron:
    """Due times by a cron expression."""

    expression: str
    zone_name: str
    zone: tzinfo

    def next_after(self, unix_time: float) -> float:
        """The next time that matches the expression."""
        whole = math.floor(unix_time)  # cronsim only returns times after the one that it is given
        if self._is_even:
            return self._next_evenly(whole)
        for due in CronSim(self.expression, _clock(whole, self.zone)):
            if due.timestamp() > unix_time:
                return due.timestamp()
        return math.inf  # not within the fifty years that cronsim looks ahead

    @property
    def _is_even(self) -> bool:
        minute, hour, *_ = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def _next_evenly(self, unix_time: int) -> float:
        """The next moment whose clock time fits: both of a repeated one, and none of a skipped one."""
        due = self._fitting(_clock(unix_time, self.zone), unix_time)
        back_at = _put_back(unix_time, self.zone)
        if back_at is None:
            return due
        # The clocks may already have shown times that they will show again.
        return min(due, self._fitting(_clock(back_at, self.zone) - _SECOND, back_at - 1))

    def _fitting(self, clock_time: datetime, unix_time: int) -> float:
        """The first moment after `unix_time` that shows a fitting time later than this one."""
        for due in CronSim(self.expression, clock_time.replace(tzinfo=None)):
            for fold in (0, 1):
                moment = due.replace(tzinfo=self.zone, fold=fold).timestamp()
                if moment > unix_time and _clock(moment, self.zone).replace(tzinfo=None, fold=0) == due:
                    return moment
        return math.inf

    def __str__(self) -> str:
        return f"cron {self.expression} {self.zone_name}"


def _clock(unix_time: float, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(unix_time, zone)


def _put_back(unix_time: int, zone: tzinfo) -> int | None:
    """When the clocks are put back within a day from then on; None if they are not."""
    offset = _clock(unix_time, zone).utcoffset() or timedelta()
    before, after = unix_time, unix_time + _DAY_S
    if (_clock(after, zone).utcoffset() or timedelta()) >= offset:
        return None
    while after - before > 1:
        middle = (before + after) // 2
        if (_clock(middle, zone).utcoffset() or timedelta()) >= offset:
            before = middle
        else:
            after = middle
    return after


def parse_cron(expression: str, zone_name: str = DEFAULT_ZONE) -> Cron:
    """Parse a cron expression of five fields: minute, hour, day of the month, month, day of the week.

    Raises:
        ValueError: it is none, it never matches, or there is no such time zone; the message says which.
    """
    zone = parse_zone(zone_name)
    words = expression.split()
    if len(words) != 5 or len(expression) > _MAX_EXPRESSION_CHARACTERS:
        raise ValueError(
            f"a cron expression has five fields (minute, hour, day, month, weekday), as 30 3 * * *, not {expression!r}"
        )
    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no cron expression: {str(error).lower()}") from error
    except StopIteration:
        raise ValueError(f"the cron expression {expression!r} never fits: there is no such day") from None
    return Cron(expression, zone_name, zone)


def parse_zone(name: str) -> ZoneInfo:
    """The time zone with this name in the IANA database, such as Europe/Berlin.

    Raises:
        ValueError: there is none with that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}: a name such as Europe/Berlin or UTC is expected") from error
