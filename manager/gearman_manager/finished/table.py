"""The table of finished jobs, in SQL. Its functions run in the thread of the history's file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.finished.obstacles import can_run
from gearman_manager.finished.private_attempts import shows_text
from gearman_manager.privacy import Privacy

#: Between the tags of a job, before the first and behind the last.
TAG_MARK: Final = "\x1f"
#: A function in SQL: whether a text that was found in a row stands in what may be shown of it.
SHOWS_TEXT: Final = "shows_text"
#: Another one: whether a job can be run again by a row of it.
_CAN_RUN: Final = "can_run"
#: Characters of an error and of a workload in a list.
LISTED_ERROR: Final = 300
LISTED_WORKLOAD: Final = 80
_NAMES: Final = tuple(field.name for field in fields(FinishedAttempt))
#: The columns in the order of the fields; the long texts are last, so that most searches do not read them.
_COLUMNS: Final = (
    *("id", "server", "run", "number", "at", "handle", "function", "unique_key", "priority", "is_background"),
    *("outcome", "follows", "attempt", "submitted", "started", "worker", "host", "workload_bytes", "is_whole"),
    *("progress", "tags", "error", "workload", "result", "traceback"),
)
_FIELD_OF: Final = {column: {"unique_key": "unique"}.get(column, column) for column in _COLUMNS}
_TYPES: Final = dict.fromkeys(
    ("number", "is_background", "attempt", "workload_bytes", "is_whole"), "INTEGER"
) | dict.fromkeys(("at", "submitted", "started"), "REAL")
#: Before the name of a schedule in the tag of its jobs, as job servers put it there.
SCHEDULE_TAG: Final = "schedule:"
#: Those that may have been submitted by a schedule, in the words of the index, which serves no other condition.
_OF_SCHEDULE: Final = f"tags >= '{TAG_MARK}{SCHEDULE_TAG}' AND tags < '{TAG_MARK}schedule;'"
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS finished (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    + ", ".join(f"{column} {_TYPES.get(column, 'TEXT')}" for column in _COLUMNS[1:])
    + ")",
    "CREATE INDEX IF NOT EXISTS finished_by_handle ON finished (handle)",
    "CREATE INDEX IF NOT EXISTS finished_by_time ON finished (at)",
    # Few rows have a single tag that is a schedule's: for the others it costs nothing.
    f"CREATE INDEX IF NOT EXISTS finished_of_schedules ON finished (tags, id) WHERE {_OF_SCHEDULE}",
    "CREATE TABLE IF NOT EXISTS finished_cursors (server TEXT PRIMARY KEY, cursor TEXT) WITHOUT ROWID",
)
#: Columns that files of before have not.
LATER: Final = (("finished", "is_whole", "INTEGER"),)
_INSERT: Final = f"INSERT INTO finished ({', '.join(_COLUMNS[1:])}) VALUES ({', '.join('?' * (len(_COLUMNS) - 1))})"
#: The columns of a list, in which long texts are cut: a page of a thousand rows must not hold the manager's loop.
_LISTED: Final = (*_COLUMNS[:-4], f"substr(error, 1, {LISTED_ERROR})", f"substr(workload, 1, {LISTED_WORKLOAD})")
_LISTED_FIELDS: Final = tuple(_FIELD_OF[column] for column in _COLUMNS[:-2])
#: Rows that one statement deletes: a few milliseconds.
_DELETED_AT_ONCE: Final = 2000
#: The part of all rows that makes room when the file is full.
_MADE_ROOM: Final = 0.1
#: The number of attempts of one job that are told, the last ones.
MOST_ATTEMPTS: Final = 200


@dataclass(frozen=True, slots=True)
class Young:
    """Since when (Unix seconds) an end must be not to be too old: those of some functions, by name, and all."""

    since: float
    since_of: Mapping[str, float]

    def chosen(self, where: str, values: Iterable[object]) -> tuple[str, list[object]]:
        """FROM … WHERE … for the rows that meet a condition, and are not too old; with its values."""
        pairs = [part for pair in self.since_of.items() for part in pair]
        # Several rows of values are not looked through for each row: SQLite makes an index of them.
        known = ", ".join(["(?, ?)"] * (1 + len(self.since_of)))
        ages = f"(SELECT column1 AS age_of, column2 AS age_since FROM (VALUES {known}))"
        condition = f"{where or ' WHERE 1'} AND at >= ? AND at >= coalesce(age_since, at)"
        return (
            f"FROM finished LEFT JOIN {ages} ON age_of = function{condition}",
            [None, None, *pairs, *values, self.since],
        )


def cursor_of(server: str, connection: sqlite3.Connection) -> str:
    """Where to go on with a server; empty: at its first end."""
    row = connection.execute("SELECT cursor FROM finished_cursors WHERE server = ?", (server,)).fetchone()
    return "" if row is None else str(row[0])


def insert(
    attempts: Sequence[FinishedAttempt], server: str, cursor: str, most: int, connection: sqlite3.Connection
) -> None:
    """Write what a server told, and where to go on with it. Of more than `most` rows in all the oldest ones go."""
    connection.executemany(_INSERT, [_values(each) for each in attempts])
    connection.execute("INSERT OR REPLACE INTO finished_cursors VALUES (?, ?)", (server, cursor))
    connection.execute("DELETE FROM finished WHERE id <= (SELECT max(id) FROM finished) - ?", (most,))


def make_room(connection: sqlite3.Connection) -> None:
    """Delete the oldest rows: the file is as large as it may become."""
    first, last = connection.execute("SELECT min(id), max(id) FROM finished").fetchone()
    if first is not None:
        connection.execute("DELETE FROM finished WHERE id <= ?", (first + int((last - first) * _MADE_ROOM),))


def delete_older(before: float, function: str | None, connection: sqlite3.Connection) -> bool:
    """Delete some of the rows that ended before that time, of one function or of all. Returns whether there may be
    more."""
    chosen = "at < ?" if function is None else "at < ? AND function = ?"
    values = (before,) if function is None else (before, function)
    few = f"SELECT id FROM finished WHERE {chosen} LIMIT {_DELETED_AT_ONCE}"
    deleted = connection.execute(f"DELETE FROM finished WHERE id IN ({few})", values).rowcount
    return deleted == _DELETED_AT_ONCE


def listed(
    condition: tuple[str, Iterable[object]],
    young: Young,
    limit: int,
    privacy: Privacy,
    connection: sqlite3.Connection,
) -> list[dict[str, Any]]:
    """The rows that meet a condition (WHERE … or nothing, and its values), the newest first, by the names of
    `FinishedAttempt`: `error` and `workload` are cut, but not those of functions that are private, and `result` and
    `traceback` are left out."""

    _use_search(privacy, connection)
    chosen, values = young.chosen(*condition)
    query = f"SELECT {', '.join(_LISTED)} {chosen} ORDER BY id DESC LIMIT ?"
    rows = [_row(_LISTED_FIELDS, row) for row in connection.execute(query, (*values, limit))]
    for row in rows:
        if privacy.of(row["function"]).hides:
            whole = connection.execute("SELECT error, workload FROM finished WHERE id = ?", (row["id"],)).fetchone()
            row["error"], row["workload"] = whole
    return rows


def _use_search(privacy: Privacy, connection: sqlite3.Connection) -> None:
    connection.create_function(SHOWS_TEXT, 5, _in_turns(partial(shows_text, privacy)))


def _in_turns(function: Callable[..., bool]) -> Callable[..., bool]:
    def call(*arguments: Any) -> bool:
        time.sleep(0)  # the manager's loop need not wait for its turn until Python takes it from us
        return function(*arguments)

    return call


def last_id(connection: sqlite3.Connection) -> int:
    """The id of the newest row; 0: there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM finished").fetchone()[0])


def counted(
    condition: tuple[str, Iterable[object]], young: Young, privacy: Privacy, connection: sqlite3.Connection
) -> tuple[int, int]:
    """How many jobs there are whose rows meet a condition, and how many of them can be run again."""
    _use_search(privacy, connection)
    connection.create_function(_CAN_RUN, 5, _in_turns(partial(can_run, privacy)))
    chosen, values = young.chosen(*condition)
    # Without rules the workload says nothing, and need not be read.
    workload = "workload" if privacy.hides(None) else "''"
    is_fit = f"is_whole AND {_CAN_RUN}(function, {workload}, workload_bytes, unique_key, is_whole)"
    query = f"SELECT count(DISTINCT handle), count(DISTINCT CASE WHEN {is_fit} THEN handle END) {chosen}"
    found, fit = connection.execute(query, values).fetchone()
    return int(found), int(fit)


def with_workloads(
    condition: tuple[str, Iterable[object]], young: Young, limit: int, privacy: Privacy, connection: sqlite3.Connection
) -> list[dict[str, Any]]:
    """The rows that meet a condition, the oldest first, with all that is known."""
    _use_search(privacy, connection)
    chosen, values = young.chosen(*condition)
    query = f"SELECT {', '.join(_COLUMNS)} {chosen} ORDER BY id LIMIT ?"
    fields_of_row = tuple(_FIELD_OF.values())
    return [_row(fields_of_row, row) for row in connection.execute(query, (*values, limit))]


def last_of_schedules(
    tags: Iterable[str], limit: int, young: Young, privacy: Privacy, connection: sqlite3.Connection
) -> dict[str, list[dict[str, Any]]]:
    """By tag, the last jobs that are over and have this tag of a schedule alone, the newest first, as `listed`."""
    where = f" WHERE tags = ? AND {_OF_SCHEDULE} AND follows <> 'retry'"
    return {tag: listed((where, [TAG_MARK + tag + TAG_MARK]), young, limit, privacy, connection) for tag in tags}


def has_ended(handle: str, mark: int, connection: sqlite3.Connection) -> bool:
    """Whether the last of a job's ends up to an id is that of the job."""
    query = "SELECT follows FROM finished WHERE handle = ? AND id <= ? ORDER BY id DESC LIMIT 1"
    row = connection.execute(query, (handle, mark)).fetchone()
    return row is not None and row[0] != "retry"


def attempts_of(handle: str, young: Young, connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """What is kept of a job, its last attempts, the first one first."""
    chosen, values = young.chosen(" WHERE handle = ?", [handle])
    query = f"SELECT {', '.join(_COLUMNS)} {chosen} ORDER BY id DESC LIMIT ?"
    fields_of_row = tuple(_FIELD_OF.values())
    return [_row(fields_of_row, row) for row in connection.execute(query, (*values, MOST_ATTEMPTS))][::-1]


def _values(attempt: FinishedAttempt) -> tuple[Any, ...]:
    tags = TAG_MARK.join(("", *attempt.tags, "")) if attempt.tags else ""
    return tuple(tags if column == "tags" else getattr(attempt, _FIELD_OF[column]) for column in _COLUMNS[1:])


def _row(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    found: Mapping[str, Any] = dict(zip(names, row, strict=True))
    tags = found["tags"].strip(TAG_MARK).split(TAG_MARK) if found["tags"] else []
    flags = {name: bool(found[name]) for name in ("is_background", "is_whole")}
    return {**found, **flags, "tags": tags}


assert set(_FIELD_OF.values()) == set(_NAMES)
