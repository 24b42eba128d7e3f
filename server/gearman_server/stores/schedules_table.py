"""The marks of schedules in the table `gearman_schedules`, a handful of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, column, delete, insert, select, table

from gearman_server.jobs.schedule_rules import ScheduleMark

_schedules: Final = table(
    "gearman_schedules", column("name"), column("timing"), column("handled_until"), column("last_run")
)


def write_marks(connection: Connection, marks: Mapping[str, ScheduleMark | None]) -> None:
    """Set marks; None removes the mark of a schedule that no longer exists."""
    connection.execute(delete(_schedules).where(_schedules.c.name.in_(list(marks))))
    rows = [{"name": name, **mark._asdict()} for name, mark in marks.items() if mark is not None]
    if rows:
        connection.execute(insert(_schedules), rows)


def read_marks(connection: Connection) -> dict[str, ScheduleMark]:
    """All marks, by the schedule's name."""
    query = select(_schedules.c.name, _schedules.c.timing, _schedules.c.handled_until, _schedules.c.last_run)
    return {name: ScheduleMark(*mark) for name, *mark in connection.execute(query)}
