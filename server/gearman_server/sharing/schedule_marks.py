"""The marks of schedules that all servers of a cluster have: those that begin anew or end, and what others wrote.

Each change is a transaction of its own on the writer's thread, tried until it succeeds. The marks of runs are written
with their jobs: see `schedule_runs.py`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.errors import StoreError
from gearman_server.jobs.schedule_rules import ABSURD_S, ScheduleMark
from gearman_server.loop import Loop, Pause
from gearman_server.sharing.schedule_runs import FORGOTTEN, add_mark, has_mark, lock_mark, set_mark
from gearman_server.stores.small_tables import read_marks

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.jobs.access import Identity
    from gearman_server.requests.scheduler import Scheduler
    from gearman_server.stores.database import Database
    from gearman_server.stores.writer import Writer
    from gearman_server.thread import Delivery

#: A change that found the mark in other hands, or no database, is tried again after this time.
_RETRY_S: Final = 0.25


class PauseAsked(NamedTuple):
    """The pause of a schedule, or its end, that is to be written."""

    mark: ScheduleMark
    #: Who has asked for it.
    identity: Identity
    #: Whether it may have been written: it would have changed the mark, and the database has not answered.
    is_doubtful: bool = False

    @property
    def is_end(self) -> bool:
        """Whether the pause ends."""
        return self.mark.paused_at is None


class SharedMarks:
    """Changes and reads them for one server."""

    def __init__(self, database: Database, writer: Writer, loop: Loop) -> None:
        self._database = database
        self._writer = writer
        #: Marks to begin with, by name; None: this server no longer has the schedule.
        self._changes: dict[str, ScheduleMark | None] = {}
        #: Pauses and their ends to write, by name.
        self._pauses: dict[str, PauseAsked] = {}
        self._scheduler: Scheduler | None = None
        self._is_busy = False
        self._pause = Pause(loop, _RETRY_S)
        #: Those that wait for all marks to be read.
        self._waiting: list[Callable[[], None]] = []
        self.stop = self._pause.stop

    def start(self, scheduler: Scheduler) -> None:
        """Keep the scheduler informed from now on."""
        self._scheduler = scheduler
        scheduler.share(self.refresh, self._pauses.__contains__)
        self._go_on()

    def change(self, name: str, mark: ScheduleMark | None) -> None:
        """Begin with a mark, unless others have begun with the same timing; None: forget the schedule."""
        self._changes[name] = mark
        if mark is None:
            self._pauses.pop(name, None)
        self._go_on()

    def pause(self, name: str, asked: PauseAsked) -> None:
        """Write a pause, or its end, over that of the others."""
        self._note_pauses({name: asked})
        self._go_on()

    def _note_pauses(self, later: Mapping[str, PauseAsked]) -> None:
        """Those that were asked for last are written. If it was asked for twice, the first has done it."""
        for name, asked in later.items():
            if name not in self._pauses or self._pauses[name].is_end is not asked.is_end:
                self._pauses[name] = asked

    def refresh(self, then: Callable[[], None]) -> None:
        """Give the scheduler the marks as they are now, as far as the database answers, and call `then`."""
        self._waiting.append(then)
        self._go_on()

    def _go_on(self) -> None:
        if self._scheduler is not None and not self._is_busy and (self._changes or self._pauses or self._waiting):
            self._is_busy = True
            changes, self._changes = self._changes, {}
            pauses = dict(self._pauses)
            self._pauses.clear()
            self._writer.run(partial(self._carry_out, changes, pauses, self._waiting))
            self._waiting = []

    def _has(self, name: str) -> bool:
        return name not in self._changes or self._changes[name] is not None

    # --- on the writer's thread

    def _carry_out(
        self,
        changes: Mapping[str, ScheduleMark | None],
        pauses: Mapping[str, PauseAsked],
        waiting: list[Callable[[], None]],
    ) -> Delivery:
        marks: Mapping[str, ScheduleMark] = {}
        written: list[str] = []
        try:
            changes = self._database.call(partial(_change, changes=changes)) if changes else {}
            left = self._database.call(partial(_pause, pauses=pauses, written=written)) if pauses else []
        except StoreError:
            unpaused = {
                name: asked._replace(is_doubtful=asked.is_doubtful or name in written) for name, asked in pauses.items()
            }
            return partial(self._done, changes, unpaused, {}, marks, waiting)
        with contextlib.suppress(StoreError):
            marks = self._database.call(read_marks)
        unpaused = {name: pauses[name] for name in left}
        return partial(self._done, changes, unpaused, {name: pauses[name] for name in written}, marks, waiting)

    # --- on the loop's thread

    def _done(
        self,
        left: Mapping[str, ScheduleMark | None],
        unpaused: Mapping[str, PauseAsked],
        written: Mapping[str, PauseAsked],
        marks: Mapping[str, ScheduleMark],
        waiting: list[Callable[[], None]],
    ) -> None:
        self._is_busy = False
        if left:
            self._changes = {**left, **self._changes}
        later = dict(self._pauses)
        self._pauses.clear()
        self._pauses.update({name: asked for name, asked in unpaused.items() if self._has(name)})
        self._note_pauses(later)
        if left or unpaused:
            self._pause.start(self._go_on)
        if self._scheduler is not None:
            for name, asked in written.items():
                self._scheduler.note_written(name, asked.identity, is_end=asked.is_end)
            pauses = {name: asked.mark.paused_at for name, asked in self._pauses.items()}
            self._scheduler.take_over(
                {name: mark._replace(paused_at=pauses.get(name, mark.paused_at)) for name, mark in marks.items()}
            )
        for tell in waiting:
            tell()
        if not self._pause.is_running:
            self._go_on()


def _change(connection: Connection, changes: Mapping[str, ScheduleMark | None]) -> dict[str, ScheduleMark | None]:
    """Change marks; returns the changes that could not be made now, because another server has the mark in hand."""
    left: dict[str, ScheduleMark | None] = {}
    for name, mark in sorted(changes.items()):
        row = lock_mark(connection, name)
        if row is None:
            if not (add_mark(connection, name, mark) if mark is not None else not has_mark(connection, name)):
                left[name] = mark
        elif mark is None:
            set_mark(connection, name, row._replace(timing=FORGOTTEN))
        elif row.timing != mark.timing:
            is_absurd = row.handled_until > mark.handled_until + ABSURD_S
            handled = mark.handled_until if is_absurd else max(row.handled_until, mark.handled_until)
            set_mark(connection, name, row._replace(timing=mark.timing, handled_until=handled))
    return left


def _pause(connection: Connection, pauses: Mapping[str, PauseAsked], written: list[str]) -> list[str]:
    """Write pauses and their ends; returns the names of those that could not be written now, and adds to `written`
    those that have changed something, if the transaction is committed. At its end a schedule begins anew."""
    left: list[str] = []
    for name, asked in sorted(pauses.items()):
        mark, row = asked.mark, lock_mark(connection, name)
        if row is None:
            left.append(name)  # another server has it in hand, or it is still to be added
            continue
        if mark.paused_at is not None:
            set_mark(connection, name, row._replace(paused_at=row.paused_at or mark.paused_at))
        elif row.paused_at is not None:
            # What was due meanwhile is not made up for, also if the server that asks did not know of the pause.
            handled = max(row.handled_until, mark.handled_until, time.time())
            set_mark(connection, name, row._replace(paused_at=None, handled_until=handled))
        if asked.is_end is not (row.paused_at is None) or asked.is_doubtful:
            written.append(name)
    return left
