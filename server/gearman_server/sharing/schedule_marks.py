"""The marks of schedules that all servers of a cluster have: those that begin anew or end, and what others wrote.

Each change is a transaction of its own on the writer's thread, tried until it succeeds. The marks of runs are written
with their jobs: see `schedule_runs.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.errors import StoreError
from gearman_server.jobs.schedule_rules import ABSURD_S, ScheduleMark
from gearman_server.loop import Loop, Pause
from gearman_server.sharing.schedule_runs import FORGOTTEN, add_mark, has_mark, lock_mark, set_mark
from gearman_server.stores.small_tables import read_marks

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.requests.scheduler import Scheduler
    from gearman_server.stores.database import Database
    from gearman_server.stores.writer import Writer
    from gearman_server.thread import Delivery

#: A change that found the mark in other hands, or no database, is tried again after this time.
_RETRY_S: Final = 0.25


class SharedMarks:
    """Changes and reads them for one server."""

    def __init__(self, database: Database, writer: Writer, loop: Loop) -> None:
        self._database = database
        self._writer = writer
        #: Marks to begin with, by name; None: this server no longer has the schedule.
        self._changes: dict[str, ScheduleMark | None] = {}
        #: Pauses and their ends to write, by name.
        self._pauses: dict[str, ScheduleMark] = {}
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

    def pause(self, name: str, mark: ScheduleMark) -> None:
        """Write the pause of the mark, or its end, over that of the others."""
        self._pauses[name] = mark
        self._go_on()

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

    # --- on the writer's thread

    def _carry_out(
        self,
        changes: Mapping[str, ScheduleMark | None],
        pauses: Mapping[str, ScheduleMark],
        waiting: list[Callable[[], None]],
    ) -> Delivery:
        written: Mapping[str, bool] = {}
        try:
            left = self._database.call(partial(_change, changes=changes)) if changes else {}
            unpaused, written = self._database.call(partial(_pause, pauses=pauses)) if pauses else ({}, {})
            return partial(self._done, left, unpaused, written, self._database.call(read_marks), waiting)
        except StoreError:
            return partial(self._done, changes, pauses, written, {}, waiting)

    # --- on the loop's thread

    def _done(
        self,
        left: Mapping[str, ScheduleMark | None],
        unpaused: Mapping[str, ScheduleMark],
        written: Mapping[str, bool],
        marks: Mapping[str, ScheduleMark],
        waiting: list[Callable[[], None]],
    ) -> None:
        self._is_busy = False
        if left:
            self._changes = {**left, **self._changes}
        kept = {name: mark for name, mark in unpaused.items() if self._changes.get(name, mark) is not None}
        self._pauses.update({**kept, **self._pauses})
        if left or unpaused:
            self._pause.start(self._go_on)
        if self._scheduler is not None:
            self._scheduler.note_written(written)
            pauses = {name: mark.paused_at for name, mark in self._pauses.items()}
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


def _pause(
    connection: Connection, pauses: Mapping[str, ScheduleMark]
) -> tuple[dict[str, ScheduleMark], dict[str, bool]]:
    """Write pauses and their ends; returns those that could not be written now, and those pauses and ends (True) that
    were none before. At its end a schedule begins anew."""
    left: dict[str, ScheduleMark] = {}
    written: dict[str, bool] = {}
    for name, mark in sorted(pauses.items()):
        row = lock_mark(connection, name)
        if row is None:
            left[name] = mark  # another server has it in hand, or it is still to be added
            continue
        if mark.paused_at is not None:
            set_mark(connection, name, row._replace(paused_at=row.paused_at or mark.paused_at))
        elif row.paused_at is not None:
            # What was due meanwhile is not made up for, also if the server that asks did not know of the pause.
            handled = max(row.handled_until, mark.handled_until, time.time())
            set_mark(connection, name, row._replace(paused_at=None, handled_until=handled))
        if (mark.paused_at is None) is not (row.paused_at is None):
            written[name] = mark.paused_at is None
    return left, written
