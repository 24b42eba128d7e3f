"""The due times of a schedule: by a cron expression in a time zone, or at even intervals. Pure.

Times are Unix seconds. Cron's days and hours are those of the zone's clocks. cronsim treats the changes to and from
daylight saving time as Debian's cron does: a run at a skipped hour comes right after the gap, a run at a repeated hour
is due once, and a run every few minutes goes on evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from datetime import tzinfo

#: Anything more frequent is a worker's loop, not a schedule.
SHORTEST_INTERVAL_S: Final = 1.0
DEFAULT_ZONE: Final = "UTC"
_MAX_EXPRESSION_CHARACTERS: Final = 256


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
        # Forward from the whole second: cronsim only returns times after the one that it is given.
        since = datetime.fromtimestamp(math.floor(unix_time), UTC).astimezone(self.zone)
        for due in CronSim(self.expression, since):
            if due.timestamp() > unix_time:
                return due.timestamp()
        return math.inf  # not within the fifty years that cronsim looks ahead

    def __str__(self) -> str:
        return f"cron {self.expression} {self.zone_name}"


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
