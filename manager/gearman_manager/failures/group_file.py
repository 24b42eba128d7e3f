"""The tables of failures in the history's file: groups, how many failures each had in each hour, and their jobs.

All functions run in the file's thread. All tables are bounded: what is oldest goes first, muted groups last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Groups that are kept, the hours of each, and the jobs of all.
MOST_GROUPS: Final = 1000
MOST_HOURS: Final = 14 * 24
MOST_JOBS: Final = 20_000
HOUR_S: Final = 3600
#: A mute without an end.
FOREVER: Final = 1e12

TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS failure_groups (id TEXT PRIMARY KEY, function TEXT, exception TEXT, place TEXT, "
    "file TEXT, line INTEGER, first REAL, last REAL, count INTEGER, handle TEXT, error TEXT, traceback TEXT, "
    "muted_until REAL, muted_by TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS failure_hours (group_id TEXT, hour INTEGER, count INTEGER, "
    "PRIMARY KEY (group_id, hour)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS failure_jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, group_id TEXT, handle TEXT UNIQUE, "
    "server TEXT, at REAL, is_dead INTEGER)",
    "CREATE INDEX IF NOT EXISTS failure_jobs_by_group ON failure_jobs (group_id, id)",
)
_GROUP: Final = (
    *("id", "function", "exception", "place", "file", "line", "first", "last", "count"),
    *("handle", "error", "traceback", "muted_until", "muted_by"),
)
_ADD_GROUP: Final = (
    "INSERT INTO failure_groups (id, function, exception, place, file, line, first, last, count, handle, error, "
    "traceback) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET file = excluded.file, "
    "line = excluded.line, first = min(first, excluded.first), last = max(last, excluded.last), "
    "count = count + excluded.count, handle = excluded.handle, error = excluded.error, traceback = excluded.traceback"
)
_ADD_HOUR: Final = (
    "INSERT INTO failure_hours VALUES (?, ?, ?) "
    "ON CONFLICT (group_id, hour) DO UPDATE SET count = count + excluded.count"
)
_ADD_JOB: Final = "INSERT OR REPLACE INTO failure_jobs (group_id, handle, server, at, is_dead) VALUES (?, ?, ?, ?, ?)"
_TOO_OLD: Final = (
    "DELETE FROM failure_jobs WHERE at < ? AND group_id IN (SELECT id FROM failure_groups WHERE function = ?)"
)
_EXCESS: Final = (
    "SELECT id FROM failure_groups ORDER BY muted_until IS NULL OR muted_until < ?, last DESC LIMIT -1 OFFSET ?"
)


@dataclass(slots=True)
class Batch:
    """Failures that are to be added. Rows as the statements take them."""

    groups: list[tuple[Any, ...]]
    hours: list[tuple[Any, ...]]
    jobs: list[tuple[Any, ...]]
    #: Handles of jobs that had a dead letter, and have ended well since.
    revived: list[str]


def add(
    batch: Batch, now: float, retention_s: Mapping[str, float], connection: sqlite3.Connection
) -> Mapping[str, float]:
    """Add failures, and remove what is too much or too old. Returns what is `muted` then."""
    connection.executemany(_ADD_GROUP, batch.groups)
    connection.executemany(_ADD_HOUR, batch.hours)
    connection.executemany(_ADD_JOB, batch.jobs)
    no_letter(batch.revived, connection)
    trim(now, retention_s, connection)
    return muted(now, connection)


def trim(now: float, retention_s: Mapping[str, float], connection: sqlite3.Connection) -> None:
    """Keep the bounds, and of functions that have a time of their own (seconds, by name) nothing that is older."""
    for function, age_s in retention_s.items():
        old = connection.execute(
            "SELECT id FROM failure_groups WHERE function = ? AND last < ?", (function, now - age_s)
        )
        forget([row[0] for row in old.fetchall()], connection)
        connection.execute(_TOO_OLD, (now - age_s, function))
    gone = [row[0] for row in connection.execute(_EXCESS, (now, MOST_GROUPS))]
    forget(gone, connection)
    hour = int(now // HOUR_S)
    # Those of the future were counted while a clock was ahead.
    connection.execute("DELETE FROM failure_hours WHERE hour < ? OR hour > ?", (hour - MOST_HOURS, hour + 1))
    connection.execute("DELETE FROM failure_jobs WHERE id <= (SELECT max(id) FROM failure_jobs) - ?", (MOST_JOBS,))


def forget(groups: Sequence[str], connection: sqlite3.Connection) -> None:
    """Forget groups, with all that belongs to them."""
    for table, column in (("failure_groups", "id"), ("failure_hours", "group_id"), ("failure_jobs", "group_id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(each,) for each in groups])


def groups(
    function: str | None, before: tuple[float, str] | None, limit: int, connection: sqlite3.Connection
) -> list[dict[str, Any]]:
    """Some groups, the latest failure first: of a function, or of all, those behind a place in this order."""
    clauses, values = ["1"], list[Any]()
    if function is not None:
        clauses.append("function = ?")
        values.append(function)
    if before is not None:
        clauses.append("(last, id) < (?, ?)")
        values += before
    query = f"SELECT {', '.join(_GROUP)} FROM failure_groups WHERE {' AND '.join(clauses)} ORDER BY last DESC, id DESC"
    rows = connection.execute(f"{query} LIMIT ?", (*values, limit)).fetchall()
    return [dict(zip(_GROUP, row, strict=True)) | {"dead": _dead(row[0], connection)} for row in rows]


def group(name: str, connection: sqlite3.Connection) -> dict[str, Any] | None:
    """One group; None: there is none of this id."""
    row = connection.execute(f"SELECT {', '.join(_GROUP)} FROM failure_groups WHERE id = ?", (name,)).fetchone()
    return None if row is None else dict(zip(_GROUP, row, strict=True)) | {"dead": _dead(name, connection)}


def _dead(name: str, connection: sqlite3.Connection) -> int:
    query = "SELECT count(*) FROM failure_jobs WHERE group_id = ? AND is_dead"
    return int(connection.execute(query, (name,)).fetchone()[0])


def hours(names: Sequence[str], since: int, connection: sqlite3.Connection) -> dict[str, dict[int, int]]:
    """How many failures each group had, by the hour since 1970, from `since` on."""
    found: dict[str, dict[int, int]] = {name: {} for name in names}
    query = "SELECT hour, count FROM failure_hours WHERE group_id = ? AND hour >= ?"
    for name in names:
        found[name].update(connection.execute(query, (name, since)).fetchall())
    return found


def jobs(name: str, limit: int, connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The last jobs of a group, the latest first."""
    query = "SELECT id, handle, server, at, is_dead FROM failure_jobs WHERE group_id = ? ORDER BY id DESC LIMIT ?"
    names = ("id", "handle", "server", "at", "is_dead")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(query, (name, limit))]


def letters(name: str, last_id: int, connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The dead letters of a group that had come when `last_id` was the last job: handle, and job server."""
    query = "SELECT handle, server FROM failure_jobs WHERE group_id = ? AND is_dead AND id <= ? ORDER BY id"
    return connection.execute(query, (name, last_id)).fetchall()


def last_id(name: str, connection: sqlite3.Connection) -> int:
    """The id of the job of a group that came last."""
    query = "SELECT coalesce(max(id), 0) FROM failure_jobs WHERE group_id = ?"
    return int(connection.execute(query, (name,)).fetchone()[0])


def no_letter(handles: Sequence[str], connection: sqlite3.Connection) -> None:
    """These jobs have no dead letter any more."""
    connection.executemany("UPDATE failure_jobs SET is_dead = 0 WHERE handle = ?", [(each,) for each in handles])


def mute(name: str, until: float | None, who: str, connection: sqlite3.Connection) -> bool:
    """Mute a group until then, or not any more; returns whether it is there."""
    query = "UPDATE failure_groups SET muted_until = ?, muted_by = ? WHERE id = ?"
    return connection.execute(query, (until, who, name)).rowcount > 0


def muted(now: float, connection: sqlite3.Connection) -> Mapping[str, float]:
    """The muted groups, and until when they are."""
    query = "SELECT id, muted_until FROM failure_groups WHERE muted_until > ?"
    return dict(connection.execute(query, (now,)).fetchall())


def recent_letters(since: float, limit: int, connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Of the dead letters since then the last ones, the oldest first: handle and group."""
    query = "SELECT handle, group_id FROM failure_jobs WHERE is_dead AND at > ? ORDER BY id DESC LIMIT ?"
    return connection.execute(query, (since, limit)).fetchall()[::-1]
