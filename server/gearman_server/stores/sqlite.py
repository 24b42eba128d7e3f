"""SQLite's own needs: the statement that inserts plain jobs, and the reasons why its file can't be opened.

The driver holds the interpreter's lock, which the server's loop needs, for each value that it binds. So a value that
all jobs share is bound once; and statements come in few sizes, with empty rows at their end, so that the driver still
has them prepared. With all values in each row, and several statements, a batch of 10 took half as long again
(measured).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gearman_server.jobs.store import number_of

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

#: The rows of a statement: at most a fifth of them is empty.
_SIZES: Final = (1, 2, 3, *(quarters << power for power in range(7) for quarters in (4, 5, 6, 7)), 512)
MAX_ROWS: Final = _SIZES[-1]

#: Columns with a value of its own for each job. The first is never NULL.
_OWN: Final = ("id", "submitted_at", "handle", "workload")
#: Columns in which all jobs may have the same value.
_COMMON: Final = ("priority", "function_name", "unique_key")
#: The same, but it is left out if no job has any.
_OPTIONS: Final = "options"
_ZEROS: Final = ("state", "requeues", "failures")

#: The files beside the database's: SQLite's log and index, and our lock.
_SUFFIXES: Final = ("-wal", "-shm", "-owner")


def plain_insert(jobs: Sequence[Job], offset_s: float) -> tuple[str, Sequence[Any]]:
    """The statement and its values, for at most `MAX_ROWS` plain jobs.

    `offset_s` is added to a monotonic time to get the wall clock's.
    """
    if len(jobs) == 1 and jobs[0].extras is None:
        return _text(_COMMON, (), 1), _values_of_one(jobs[0], offset_s)
    handles = [job.handle for job in jobs]
    columns: list[Iterable[Any]] = [
        _numbers_of(handles),
        [offset_s + job.submitted for job in jobs],
        map(bytearray, handles),
        map(bytearray, [job.workload for job in jobs]),
    ]
    may_be_common: list[tuple[str, list[Any]]] = [
        ("priority", [job.priority for job in jobs]),
        ("function_name", [job.function.name for job in jobs]),
        ("unique_key", [job.unique for job in jobs]),
    ]
    extras = [job.extras for job in jobs]
    if extras.count(None) < len(jobs):
        are_equal = extras.count(extras[0]) == len(jobs)  # they share one object
        pairs = [jobs[0].kept_pairs] if are_equal else [job.kept_pairs or None for job in jobs]
        may_be_common.append((_OPTIONS, pairs))
    values: list[Any] = []
    common: list[str] = []
    varying: list[str] = []
    for name, column in may_be_common:
        if column.count(column[0]) == len(column):
            common.append(name)
            values.append(bindable(column[0]))
        else:
            varying.append(name)
            columns.append(map(bindable, column))
    rows = _SIZES[bisect_left(_SIZES, len(jobs))]
    first, width = len(values), len(columns)
    values += [None] * (rows * width)
    for at, column_values in enumerate(columns, first):
        values[at : first + len(jobs) * width : width] = column_values
    return _text(tuple(common), tuple(varying), rows), values


def _values_of_one(job: Job, offset_s: float) -> Sequence[Any]:
    """The values for a single job: what follows for several would take longer than all else in its commit."""
    name, unique = bytearray(job.function.name), bytearray(job.unique)
    number = int(job.handle.rpartition(b":")[2])
    submitted = offset_s + job.submitted
    return job.priority, name, unique, number, submitted, bytearray(job.handle), bytearray(job.workload)


def _numbers_of(handles: Sequence[bytes]) -> list[int]:
    """The numbers in handles. Nearly always all have the same prefix, which is then looked for once."""
    at = handles[0].rindex(b":") + 1
    prefix = handles[0][:at]
    try:
        return [int(handle[at:] if handle.startswith(prefix) else handle.rpartition(b":")[2]) for handle in handles]
    except ValueError:  # a longer prefix begins like this one
        return list(map(number_of, handles))


def bindable(value: Any) -> Any:
    """The value, bytes as a bytearray. For bytes the driver looks for an adapter and finds none: two thirds of an
    insert's time, all of it with the interpreter's lock (measured)."""
    return bytearray(value) if type(value) is bytes else value


@cache
def _text(common: Sequence[str], varying: Sequence[str], rows: int) -> str:
    given = [*_OWN, *varying]
    row = f"({', '.join('?' * len(given))})"
    taken = ["0"] * len(_ZEROS) + ["?"] * len(common) + [f"column{at}" for at in range(1, len(given) + 1)]
    return (
        f"INSERT INTO gearman_jobs ({', '.join((*_ZEROS, *common, *given))}) SELECT {', '.join(taken)}"
        f" FROM (VALUES {', '.join([row] * rows)}) WHERE column1 IS NOT NULL"
    )


# --- the log

PAGE_BYTES: Final = 4096
#: The log is moved into the file at 32 MiB instead of 4 MiB, the default: everybody waits meanwhile, and pages that
#: change often are moved once (a tenth more inserts, measured).
_MOST_PAGES: Final = 8192
_FEWEST_PAGES: Final = 64
#: On a small disk it is moved when it has this share of the room that is left: the file may grow by as much.
_SHARE_OF_ROOM: Final = 8
#: Jobs are not stored in the last bytes of a disk: the ends of jobs are, and the log needs them to be emptied.
RESERVE_BYTES: Final = 1 << 20


def log_pages(room_bytes: int) -> int:
    """The size at which the log is moved into the file, a power of two."""
    pages = min(max(room_bytes // _SHARE_OF_ROOM // PAGE_BYTES, _FEWEST_PAGES), _MOST_PAGES)
    return 1 << pages.bit_length() - 1


# --- the file


def obstacle_of(path: Path) -> str | None:
    """The reason why the database can't be opened and written; None if there is no visible one."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only disk"
    if not _may_write(folder, os.R_OK | os.W_OK | os.X_OK):
        return f"this user may not write the folder {folder}"
    if path.is_dir():
        return f"{path} is a folder"
    for file in (path, *(path.with_name(path.name + suffix) for suffix in _SUFFIXES)):
        if file.exists() and not _may_write(file, os.R_OK | os.W_OK):
            return f"this user may not write {file}"
    return None


def _may_write(path: Path, how: int) -> bool:
    return os.access(path, how, effective_ids=True)
