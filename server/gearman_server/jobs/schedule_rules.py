"""Schedules: the jobs that are submitted by the clock, their times, and what happens to them. Pure data;
`schedule_keys` reads the rules, and the events go the way of all others (see `events`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.jobs.job import NORMAL

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.job import Job
    from gearman_server.options.timing import Timing

#: Marks that are this far in the future come from a clock that was wrong.
ABSURD_S: Final = 86_400.0
#: Before the schedule's name in the tag of its jobs. No client may give a job such a tag.
TAG_PREFIX: Final = b"schedule:"


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
    #: When a job was last submitted, by the clock or by hand, and its handle.
    last_run: float | None = None
    last_handle: bytes | None = None
    #: Since when an operator has it paused: meanwhile no run is due, and none is made up for.
    paused_at: float | None = None


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


# --- events


class ScheduleRan(NamedTuple):
    """A schedule's job was submitted."""

    name: str
    function: bytes
    handle: bytes


class ScheduleSkipped(NamedTuple):
    """The runs of a schedule since that time (Unix seconds) were missed, and are not made up for."""

    name: str
    function: bytes
    since: float


class ScheduleRefused(NamedTuple):
    """A schedule's job could not be submitted: this run is skipped."""

    name: str
    function: bytes
    reason: bytes


class ScheduleClockSet(NamedTuple):
    """A schedule's mark is at a time (Unix seconds) that is now far in the future: it begins anew."""

    name: str
    until: float


class SchedulePaused(NamedTuple):
    """An operator has paused a schedule: no run of it is due any more."""

    identity: Identity
    name: str


class ScheduleResumed(NamedTuple):
    """An operator has ended a schedule's pause."""

    identity: Identity
    name: str
