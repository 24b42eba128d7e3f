"""The broker's events as log lines: a sentence for people, and fields for machines. It decides nothing about jobs.

The server, its only caller, subscribes it. It stands beside http, whose metrics count the same events, and above jobs,
whose events it knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from gearman_server.jobs.batch_rows import BatchEnded, BatchesForgotten, ChainBroken
from gearman_server.jobs.events import (
    EVERY_JOB,
    AttemptFailed,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    EventStream,
    ForeignRequest,
    FunctionHeld,
    FunctionPaused,
    FunctionRegistered,
    FunctionReleased,
    FunctionResumed,
    FunctionsForgotten,
    FunctionUnregistered,
    JobAssigned,
    JobBuried,
    JobCoalesced,
    JobDropped,
    JobDue,
    JobEnded,
    JobExpired,
    JobFailed,
    JobGoesOn,
    JobQueued,
    JobRequeued,
    JobReturned,
    JobRevived,
    JobStopped,
    JobThrottled,
    KeysForgotten,
    LettersForgotten,
    RequestRefused,
    ResultsForgotten,
    ShutdownRequested,
    StoreFailed,
    StoreFenced,
    StoreLost,
    StoreRecovered,
)
from gearman_server.jobs.schedule_rules import (
    ScheduleClockSet,
    SchedulePaused,
    ScheduleRan,
    ScheduleRefused,
    ScheduleResumed,
    ScheduleSkipped,
)
from gearman_server.log import NOTICE, logger


def log_events(events: EventStream) -> None:
    """Write the broker's events to the log. Events of a level that isn't logged are not even subscribed to."""
    for level, types in _LEVELS_OF_EVENTS:
        if logger.isEnabledFor(level):
            for event_type in types:
                events.subscribe(EventLog(level), event_type)


_LEVELS_OF_EVENTS: Final[tuple[tuple[int, tuple[type[Event], ...]], ...]] = (
    (logging.ERROR, (JobFailed, StoreFailed, StoreLost)),
    (
        logging.WARNING,
        (
            RequestRefused,
            ForeignRequest,
            FunctionHeld,
            FunctionReleased,
            JobRequeued,
            AttemptFailed,
            ChainBroken,
            JobThrottled,
            ScheduleRefused,
            ScheduleClockSet,
        ),
    ),
    (
        NOTICE,
        (
            BatchesForgotten,
            FunctionsForgotten,
            FunctionPaused,
            FunctionResumed,
            JobDropped,
            JobExpired,
            JobGoesOn,
            JobReturned,
            JobStopped,
            KeysForgotten,
            LettersForgotten,
            ResultsForgotten,
            SchedulePaused,
            ScheduleResumed,
            ScheduleSkipped,
            ShutdownRequested,
            StoreRecovered,
        ),
    ),
    (
        logging.INFO,
        (
            BatchEnded,
            ConnectionOpened,
            ConnectionClosed,
            FunctionRegistered,
            FunctionUnregistered,
            JobBuried,
            JobRevived,
            ScheduleRan,
        ),
    ),
    (logging.DEBUG, (*EVERY_JOB, JobDue)),
)


#: Lines about one kind of event per second, because any client can cause such events as often as it likes. The level
#: DEBUG has no such bound: it is there to follow single jobs.
MOST_LINES_A_SECOND: Final = 1000


class EventLog:
    """Writes events of one kind; those above the bound are counted, and the next line gives their number."""

    def __init__(self, level: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._level = level
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def __call__(self, event: Event) -> None:
        """Write it, or count it."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= MOST_LINES_A_SECOND and self._level > logging.DEBUG:
            self._left_out += 1
            return
        self._lines += 1
        message, fields = describe(event)
        if self._left_out:
            message = f"{message} (and {self._left_out} more lines of this kind before it, left out)"
            fields["left_out"] = self._left_out
            self._left_out = 0
        logger.log(self._level, "%s", message, extra={"fields": fields})


def describe(event: Event) -> tuple[str, dict[str, object]]:
    """An event as a line for people, and as fields for machines."""
    fields = {name: _moment(value) if name in _MOMENTS else _plain(value) for name, value in event._asdict().items()}
    fields = {"event": type(event).__name__, **fields}
    return _MESSAGES[type(event)].format_map(fields), fields


def _moment(unix_time: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_time))


def _plain(value: object) -> object:
    if not isinstance(value, bytes):
        return value if isinstance(value, (str, int)) else str(value)
    text = value.decode("utf-8", "backslashreplace")
    # A peer chose this text: it must not move the cursor of the terminal that shows the log.
    return text if text.isprintable() else text.encode("unicode_escape").decode()


#: Fields that hold Unix seconds.
_MOMENTS: Final = frozenset({"since", "until"})
_MESSAGES: Final[dict[type[Event], str]] = {
    ConnectionOpened: "connection {identity}: opened",
    ConnectionClosed: "connection {identity} ({client_id}): ended, {reason}",
    FunctionRegistered: "connection {identity} ({client_id}): registered for {function}",
    FunctionUnregistered: "connection {identity} ({client_id}): no longer registered for {function}",
    FunctionPaused: "connection {identity}: has paused {function}: none of its jobs is started",
    FunctionResumed: "connection {identity}: has resumed {function}: its jobs are started again",
    FunctionHeld: "function {function}: held, no job is started for {hold_s} s: {reason}",
    FunctionReleased: "function {function}: released after {held_s} s, because a job that probed it has succeeded",
    FunctionsForgotten: "{functions} functions without jobs and workers are forgotten: there were very many",
    RequestRefused: "connection {identity}: refused with {code}: {text}",
    ForeignRequest: "connection {identity}: closed, it speaks {protocol} on a port of the Gearman protocol: {line}",
    JobQueued: "job {handle} of {function}: queued",
    JobCoalesced: "job {handle} of {function}: submitted once more",
    JobDue: "job {handle} of {function}: its time has come, queued",
    JobAssigned: "job {handle} of {function}: assigned to {worker}",
    JobEnded: "job {handle} of {function}: ended with {how}",
    JobFailed: "job {handle} of {function}: failed for good, attempts: {attempts}; {reason}",
    JobThrottled: "job {handle} of {function}: back in its queue; {held} is held for {wait_s} s: {reason}",
    AttemptFailed: "job {handle} of {function}: attempt {attempts} failed, the next follows in {wait_s} s: {reason}",
    JobGoesOn: "job {handle} of {function}: its worker {worker} goes on with it, though its server is gone",
    JobRequeued: "job {handle} of {function}: back in its queue for the {requeues}. time, {reason}",
    JobReturned: "job {handle} of {function}: back at the head of its queue, {reason}",
    JobExpired: "job {handle} of {function}: expired, it was not begun in time",
    JobDropped: "job {handle} of {function}: dropped, {reason}",
    JobStopped: "job {handle} of {function}: stopped; its worker: {outcome}",
    ShutdownRequested: "connection {identity}: the command shutdown",
    JobBuried: "job {handle} of {function}: kept as a dead letter after {attempts} attempts: {error}",
    JobRevived: "job {handle} of {function}: a dead letter, queued again",
    ResultsForgotten: "{results} results are forgotten before their time: there are too many",
    KeysForgotten: "{keys} ids of submissions and kept unique keys are forgotten before their time: there are too many",
    BatchEnded: "batch {batch}: done, {complete} of {jobs} jobs are complete, success: {is_success}",
    BatchesForgotten: "{batches} batches are forgotten before their time: very many are done",
    ChainBroken: "job {handle} of {function}: complete, but the chain ends here: {reason}",
    SchedulePaused: "connection {identity}: has paused schedule {name}: no run of it is due",
    ScheduleResumed: "connection {identity}: has resumed schedule {name}",
    ScheduleRan: "schedule {name}: job {handle} of {function} is submitted",
    ScheduleSkipped: "schedule {name}: runs of {function} were missed since {since} UTC, and are left out",
    ScheduleRefused: "schedule {name}: {function} can't be submitted, this run is left out: {reason}",
    ScheduleClockSet: "schedule {name}: it has run at {until} UTC, in the future: the clock was set; it begins anew",
    LettersForgotten: "{letters} dead letters are forgotten: {reason}",
    StoreFailed: "{reason}; background jobs are refused until it can be written again",
    StoreRecovered: "the store can be written again",
    StoreFenced: "the jobs of this server are others' now",
    StoreLost: "{reason}: this server ends",
}
