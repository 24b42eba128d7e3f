"""Schedules: which job is submitted by the clock, and when. Pure data; `schedule_keys` reads them from a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from gearman_server.jobs.job import NORMAL

if TYPE_CHECKING:
    from gearman_server.jobs.timing import Timing


class Missed(Enum):
    """What becomes of runs whose time passed while nobody could start them."""

    #: One run makes up for all of them.
    RUN_ONCE = "run_once"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """A background job that is submitted again and again."""

    name: str
    timing: Timing
    function: bytes
    workload: bytes = b""
    unique: bytes = b""
    priority: int = NORMAL
    missed: Missed = Missed.RUN_ONCE


class ScheduleMark(NamedTuple):
    """How far a schedule has come; kept by a durable store, so that no run is due twice. Times are Unix seconds."""

    #: The schedule's timing as it was then: with another one it begins anew.
    timing: str
    #: All that was due up to this time has been dealt with.
    handled_until: float
    #: When a job was last submitted, by the clock or by hand.
    last_run: float | None = None
