"""The text commands `schedules list`, `trigger NAME`, `pause NAME` and `resume NAME`: jobs that are submitted by the
clock. Pure.

The answers to all but `list` wait for the store, as a client's JOB_CREATED does: what was sent is a promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.job import PRIORITY_NAMES
from gearman_server.text_commands.arguments import CommandError, NotAllowedError
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import in_pieces

if TYPE_CHECKING:
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.session import Session
    from gearman_server.requests.scheduler import Scheduled, Scheduler
    from gearman_server.text_commands.admin import Answer


_UNKNOWN: Final = CommandError(b"UNKNOWN_SCHEDULE", b"There is no such schedule")
_PAUSE_NOT_STORED: Final = CommandError(
    b"NOT_STORED", b"It is done, but the store can't be written: a restart may forget it until it can"
)
_NOT_STORED: Final = CommandError(b"QUEUE_ERROR", b"The job could not be stored, try again later")


class ScheduleCommands:
    """Carries out the `schedules` commands."""

    def __init__(self, scheduler: Scheduler, allowed: AccessList) -> None:
        self._scheduler = scheduler
        self._allowed = allowed

    def execute(self, session: Session, words: list[bytes]) -> Answer:
        """The answer to one line; empty if it follows later."""
        try:
            if [word.lower() for word in words[1:]] == [b"list"]:
                return self._list(session)
            if len(words) == 3 and words[1].lower() == b"trigger":
                return self._trigger(session, words[2])
            if len(words) == 3 and words[1].lower() in (b"pause", b"resume"):
                return self._pause(session, words[2], is_end=words[1].lower() == b"resume")
            expected = b"schedules list, schedules trigger NAME, schedules pause NAME or schedules resume NAME"
            raise CommandError(b"INVALID_ARGUMENTS", expected + b" is expected")
        except CommandError as error:
            return error.answer

    def _list(self, session: Session) -> Answer:
        if self._scheduler.refresh is None:
            return in_pieces(map(_line, list(self._scheduler)))
        fill = self._scheduler.durability.withhold(session)
        self._scheduler.refresh(lambda: fill(b"".join(in_pieces(map(_line, self._scheduler)))))
        return b""

    def _trigger(self, session: Session, name: bytes) -> bytes:
        if not self._allowed.allows(session.identity):
            raise NotAllowedError
        try:
            job = self._scheduler.trigger(name.decode("utf-8", "replace"))
        except RefusedError as error:
            raise CommandError(error.code, error.text) from error
        if job is None:
            raise _UNKNOWN
        return self._scheduler.durability.answer(session, job, b"OK %s\n".__mod__, _NOT_STORED.answer)

    def _pause(self, session: Session, name: bytes, *, is_end: bool) -> bytes:
        if not self._allowed.allows(session.identity):
            raise NotAllowedError
        scheduler = self._scheduler
        change, schedule = scheduler.resume if is_end else scheduler.pause, name.decode("utf-8", "replace")
        if not change(session.identity, schedule):
            raise _UNKNOWN
        if not scheduler.durability.is_durable:
            return b"OK\r\n"
        fill = scheduler.durability.withhold(session)
        scheduler.when_written(schedule, lambda is_written: fill(b"OK\r\n" if is_written else _PAUSE_NOT_STORED.answer))
        return b""


def _line(scheduled: Scheduled) -> bytes:
    """Name, function, next due time, last run, timing, priority, treatment of missed runs, unique key, handle of the
    last run's job, since when it is paused."""
    rule, mark = scheduled.rule, scheduled.mark
    columns = (
        rule.name.encode(),
        printable(rule.function),
        b"%.3f" % scheduled.next_due,
        _moment(mark.last_run),
        str(rule.timing).encode(),
        PRIORITY_NAMES[rule.priority].encode(),
        rule.missed.value.encode(),
        printable(rule.unique),
        printable(mark.last_handle or b""),
        _moment(mark.paused_at),
    )
    return b"\t".join(columns) + b"\n"


def _moment(unix_time: float | None) -> bytes:
    return b"" if unix_time is None else b"%.3f" % unix_time
