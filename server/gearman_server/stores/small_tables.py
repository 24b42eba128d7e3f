"""Small tables: the marks of schedules, `gearman_schedules`, the pauses of functions, `gearman_functions`, and the
cursors of jobs, `gearman_cursors`. Several cursors of a job are written in a second while it runs, and its own row,
which can have a large workload, need not be written anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, insert, select, table, text

from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.stores.batch import row_id
from gearman_server.stores.rows import JOBS

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

SCHEDULES: Final = table(
    "gearman_schedules",
    column("name"),
    column("timing"),
    column("handled_until"),
    column("last_run"),
    column("last_handle", LargeBinary()),
    column("paused_at"),
)
#: The columns that are a mark, in its order.
MARK: Final = [SCHEDULES.c[name] for name in ScheduleMark._fields]
_functions: Final = table("gearman_functions", column("function_name", LargeBinary()), column("paused_at"))
#: Names in one statement; each may have 8 kB.
_MAX_NAMES: Final = 100
CURSORS: Final = "gearman_cursors"
_cursors: Final = table(CURSORS, column("id", BigInteger()), column("job_cursor", LargeBinary()))
_DELETE_ORPHANS: Final = text(
    f"DELETE FROM {CURSORS} WHERE NOT EXISTS (SELECT 1 FROM {JOBS} WHERE {JOBS}.id = {CURSORS}.id)"
)
#: Ids in one statement.
_MAX_IDS: Final = 500
#: Rows in one statement: with the largest cursors, escaped, they fit into MySQL's smallest packet.
_MAX_ROWS: Final = 4

Item = TypeVar("Item")


def write_marks(connection: Connection, marks: Mapping[str, ScheduleMark | None]) -> None:
    """Set marks; None removes the mark of a schedule that no longer exists."""
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.name.in_(list(marks))))
    rows = [{"name": name, **mark._asdict()} for name, mark in marks.items() if mark is not None]
    if rows:
        connection.execute(insert(SCHEDULES), rows)


def read_marks(connection: Connection) -> dict[str, ScheduleMark]:
    """All marks, by the schedule's name."""
    rows = connection.execute(select(SCHEDULES.c.name, *MARK))
    return {name: mark_of(columns) for name, *columns in rows}


def mark_of(columns: Sequence[Any]) -> ScheduleMark:
    """The mark of the columns `MARK`; bytes may have any type that a driver returns."""
    mark = ScheduleMark(*columns)
    return mark._replace(last_handle=None if mark.last_handle is None else bytes(mark.last_handle))


def write_pauses(connection: Connection, pauses: Mapping[bytes, float | None]) -> None:
    """Set since when functions are paused (Unix seconds); None: one is no longer paused."""
    names = list(pauses)
    for at in range(0, len(names), _MAX_NAMES):
        some = names[at : at + _MAX_NAMES]
        connection.execute(delete(_functions).where(_functions.c.function_name.in_(some)))
        rows = [{"function_name": name, "paused_at": pauses[name]} for name in some if pauses[name] is not None]
        if rows:
            connection.execute(insert(_functions), rows)


def read_pauses(connection: Connection) -> dict[bytes, float]:
    """Since when functions are paused."""
    query = select(_functions.c.function_name, _functions.c.paused_at)
    return {bytes(name): float(paused_at) for name, paused_at in connection.execute(query)}


# --- the cursors of jobs


class CursorsTable:
    """The table, and the ids of its rows: jobs without a cursor cost nothing. Rows that are left behind by a
    transaction that failed go at the next start."""

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def read(self, connection: Connection) -> list[tuple[int, bytes]]:
        """The ids of jobs, with their cursors. Cursors without a job are removed."""
        connection.execute(_DELETE_ORPHANS)
        rows = [(int(row[0]), bytes(row[1])) for row in connection.execute(select(*_cursors.c))]
        self._ids = {number for number, _ in rows}
        return rows

    def note(self, ids: Iterable[int]) -> None:
        """Note that these jobs have cursors in the table, which another server has written."""
        self._ids.update(ids)

    def write(self, connection: Connection, jobs: Iterable[Job]) -> None:
        """Write the cursors of those of the jobs that have one."""
        rows = {row_id(job): job.extras.cursor for job in jobs if job.extras is not None}
        written = {number: cursor for number, cursor in rows.items() if cursor is not None}
        if not written:
            return
        self.delete(connection, list(written))
        self._ids.update(written)
        for some in _parts(list(written.items()), _MAX_ROWS):
            connection.execute(insert(_cursors), [{"id": number, "job_cursor": cursor} for number, cursor in some])

    def delete(self, connection: Connection, ids: Sequence[int]) -> None:
        """Remove the cursors of the jobs with these ids, if they have any."""
        if not self._ids:
            return
        known = [number for number in ids if number in self._ids]
        for some in _parts(known, _MAX_IDS):
            connection.execute(delete(_cursors).where(_cursors.c.id.in_(some)))
        self._ids.difference_update(known)


def _parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    return (items[at : at + most] for at in range(0, len(items), most))
