"""Claims the runs of schedules that several servers have: compare-and-set of the mark, in the transaction of the job.

No server waits for another one here: a mark that another is just changing is left to it, and looked at again soon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gearman_server.jobs.schedule_rules import ABSURD_S, ScheduleMark
from gearman_server.stores.small_tables import MARK, SCHEDULES, mark_of

if TYPE_CHECKING:
    from gearman_server.jobs.schedule_rules import ScheduleRun

#: The timing of a schedule that a server no longer has. The time until which its runs are handled stays, for others,
#: and so does a pause.
FORGOTTEN: Final = ""


def claim_run(connection: Connection, run: ScheduleRun) -> tuple[ScheduleMark | None, bool]:
    """Write the mark of a run, unless another server has dealt with it. Returns the mark that was found (None: another
    server has it in hand), and whether the run is ours."""
    row = lock_mark(connection, run.name)
    if row is None:
        return None, add_mark(connection, run.name, run.mark) or run.due is None
    if run.due is None:
        if row.last_run is None or row.last_run < (run.mark.last_run or 0.0):
            newer = row._replace(last_run=run.mark.last_run, last_handle=run.mark.last_handle)
            set_mark(connection, run.name, newer)
        return row, True
    if row.paused_at is not None:
        return row, False
    if run.due <= row.handled_until < run.due + ABSURD_S:
        return row, False
    timing = run.mark.timing if row.timing == FORGOTTEN else row.timing
    last = run.mark if run.mark.last_run else row
    set_mark(
        connection,
        run.name,
        run.mark._replace(timing=timing, last_run=last.last_run, last_handle=last.last_handle, paused_at=None),
    )
    return row, True


def lock_mark(connection: Connection, name: str) -> ScheduleMark | None:
    """The mark, which nobody else changes before the end of the transaction. None: there is none, or another has it."""
    query = select(*MARK).where(SCHEDULES.c.name == name).with_for_update(skip_locked=True)
    row: Any = connection.execute(query).first()
    return None if row is None else mark_of(row)


def set_mark(connection: Connection, name: str, mark: ScheduleMark) -> None:
    """Change a mark that is locked."""
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(**mark._asdict()))


def has_mark(connection: Connection, name: str) -> bool:
    """Whether there is one."""
    return connection.execute(select(SCHEDULES.c.name).where(SCHEDULES.c.name == name)).first() is not None


def add_mark(connection: Connection, name: str, mark: ScheduleMark) -> bool:
    """Add a mark. False: there is one."""
    if has_mark(connection, name):
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(SCHEDULES), {"name": name, **mark._asdict()})
    except IntegrityError:
        return False
    return True
