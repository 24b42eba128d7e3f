"""Claims the runs of schedules that several servers have: compare-and-set of the mark, in the transaction of the job.

No server waits for another one here: a mark that another is just changing is left to it, and looked at again soon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, column, insert, select, table, update
from sqlalchemy.exc import IntegrityError

from gearman_server.jobs.schedule_rules import ABSURD_S, ScheduleMark

if TYPE_CHECKING:
    from gearman_server.jobs.schedule_rules import ScheduleRun

_schedules: Final = table(
    "gearman_schedules", column("name"), column("timing"), column("handled_until"), column("last_run")
)
#: The timing of a schedule that a server no longer has. The time until which its runs are handled stays, for others.
FORGOTTEN: Final = ""


def claim_run(connection: Connection, run: ScheduleRun) -> tuple[ScheduleMark | None, bool]:
    """Write the mark of a run, unless another server has dealt with it. Returns the mark that was found (None: another
    server has it in hand), and whether the run is ours."""
    row = lock_mark(connection, run.name)
    if row is None:
        return None, add_mark(connection, run.name, run.mark) or run.due is None
    if run.due is None:
        if row.last_run is None or row.last_run < (run.mark.last_run or 0.0):
            set_mark(connection, run.name, row._replace(last_run=run.mark.last_run))
        return row, True
    if run.due <= row.handled_until < run.due + ABSURD_S:
        return row, False
    timing = run.mark.timing if row.timing == FORGOTTEN else row.timing
    set_mark(connection, run.name, run.mark._replace(timing=timing, last_run=run.mark.last_run or row.last_run))
    return row, True


def lock_mark(connection: Connection, name: str) -> ScheduleMark | None:
    """The mark, which nobody else changes before the end of the transaction. None: there is none, or another has it."""
    columns = _schedules.c.timing, _schedules.c.handled_until, _schedules.c.last_run
    query = select(*columns).where(_schedules.c.name == name).with_for_update(skip_locked=True)
    row: Any = connection.execute(query).first()
    return None if row is None else ScheduleMark(*row)


def set_mark(connection: Connection, name: str, mark: ScheduleMark) -> None:
    """Change a mark that is locked."""
    connection.execute(update(_schedules).where(_schedules.c.name == name).values(**mark._asdict()))


def has_mark(connection: Connection, name: str) -> bool:
    """Whether there is one."""
    return connection.execute(select(_schedules.c.name).where(_schedules.c.name == name)).first() is not None


def add_mark(connection: Connection, name: str, mark: ScheduleMark) -> bool:
    """Add a mark. False: there is one."""
    if has_mark(connection, name):
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(_schedules), {"name": name, **mark._asdict()})
    except IntegrityError:
        return False
    return True
