"""Schedules: the jobs that are submitted by the clock, and their times. Pure data; `schedule_keys` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.jobs.job import NORMAL

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.options.timing import Timing

#: Marks that are this far in the future come from a clock that was wrong.
ABSURD_S: Final = 86_400.0


class Missed(Enum):
    """The treatment of runs whose time passed while no server could start them."""

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
    """A schedule's progress, kept by a durable store so that no run is due twice. Times are Unix seconds."""

    #: The schedule's timing at that time: if it changes, the schedule begins anew.
    timing: str
    #: All runs that were due up to this time have been dealt with.
    handled_until: float
    #: When a job was last submitted, by the clock or by hand.
    last_run: float | None = None


class ScheduleRun(NamedTuple):
    """One run, whose mark is written in the same transaction as its job."""

    name: str
    #: The first due time that it is for; None: it was ordered by hand.
    due: float | None
    mark: ScheduleMark
    #: The job that is inserted; None: there is none, because it was skipped, refused, or is that of an earlier run.
    job: Job | None
    #: The mark before it.
    earlier: ScheduleMark
