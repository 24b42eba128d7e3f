"""The tables of points and of marks in the history's file. All of it runs in the file's thread, in its transactions.

A point's key begins with its time, so that a minute's points lie beside each other: a minute is written to a few pages
of the file, an old one is deleted from a few. Those of one series are looked up one by one, some microseconds for each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

#: The kind of a series (`pool`, `function`, or one of those for all of them together) and its name.
Key = tuple[str, str]
MINUTE_S: Final = 60
HOUR_S: Final = 3600
#: The kind of the names of limits, which have no points.
LIMIT: Final = "limit"
#: Series, and names of limits, that the file knows at most.
MOST_NAMES: Final = 5000
MOST_MARKS: Final = 10_000
#: Of the file's pages, the part from which old minutes have to go sooner than they should.
_FULL_SHARE: Final = 0.9
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, seen INTEGER, "
    "UNIQUE (kind, name))",
    "CREATE TABLE IF NOT EXISTS points (step INTEGER, at INTEGER, series INTEGER, figures BLOB, "
    "PRIMARY KEY (step, at, series)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS marks (id INTEGER PRIMARY KEY, at REAL, kind TEXT, subject TEXT, text TEXT)",
    "CREATE INDEX IF NOT EXISTS marks_at ON marks (at)",
)
_OF_SERIES: Final = """
    WITH RECURSIVE moments (at) AS (SELECT :begin UNION ALL SELECT at + :step FROM moments WHERE at + :step < :end)
    SELECT points.at, points.figures FROM moments CROSS JOIN points
    ON points.step = :step AND points.at = moments.at AND points.series = :series
"""
_INSERT: Final = "INSERT OR REPLACE INTO points (step, at, series, figures) VALUES (?, ?, ?, ?)"

#: Something that has happened: when (seconds since 1970), of which kind, to whom, and in words.
Mark = tuple[float, str, str, str]


def numbers(keys: Iterable[Key], now: int, connection: sqlite3.Connection) -> dict[Key, int]:
    """The numbers of series, which get one if they have none; of too many the last ones have none."""
    known: dict[Key, int] = {
        (kind, name): number for number, kind, name in connection.execute("SELECT id, kind, name FROM series")
    }
    fresh = [key for key in keys if key not in known][: max(0, MOST_NAMES - len(known))]
    for kind, name in fresh:
        added = connection.execute("INSERT INTO series (kind, name, seen) VALUES (?, ?, ?)", (kind, name, now))
        known[kind, name] = int(added.lastrowid or 0)
    return {key: known[key] for key in keys if key in known}


def write(step_s: int, at: int, points: Mapping[int, bytes], connection: sqlite3.Connection) -> None:
    """Write the points of one time, by the numbers of their series."""
    connection.executemany(_INSERT, [(step_s, at, series, points[series]) for series in sorted(points)])
    if step_s == HOUR_S:
        connection.executemany("UPDATE series SET seen = ? WHERE id = ?", [(at, series) for series in points])


def points_at(step_s: int, at: int, connection: sqlite3.Connection) -> dict[int, bytes]:
    """The points of one time, by the numbers of their series."""
    query = "SELECT series, figures FROM points WHERE step = ? AND at = ?"
    return dict(connection.execute(query, (step_s, at)).fetchall())


def points_of(key: Key, step_s: int, begin: int, end: int, connection: sqlite3.Connection) -> dict[int, bytes]:
    """The points of one series from one time until before another, by their times."""
    row = connection.execute("SELECT id FROM series WHERE kind = ? AND name = ?", key).fetchone()
    if row is None or begin >= end:
        return {}
    values = {"series": row[0], "step": step_s, "begin": begin, "end": end}
    return dict(connection.execute(_OF_SERIES, values).fetchall())


def names_of(kind: str, connection: sqlite3.Connection) -> dict[int, str]:
    """The names of this kind, by number."""
    return dict(connection.execute("SELECT id, name FROM series WHERE kind = ?", (kind,)).fetchall())


def hour_to_sum(now: int, connection: sqlite3.Connection) -> int | None:
    """The first hour that is over, and of which there are minutes but no sum; None: there is none."""
    (last,) = connection.execute("SELECT max(at) FROM points WHERE step = ?", (HOUR_S,)).fetchone()
    begin = 0 if last is None else last + HOUR_S
    query = "SELECT min(at) FROM points WHERE step = ? AND at >= ? AND at < ?"
    (first,) = connection.execute(query, (MINUTE_S, begin, now - now % HOUR_S)).fetchone()
    return None if first is None else int(first - first % HOUR_S)


def trim(before: Mapping[int, int], connection: sqlite3.Connection) -> None:
    """Delete the points before these times, by their steps; and more minutes, an hour at a time, if the file is nearly
    full. Series without points lose their names, and there are only so many marks."""
    for step_s, at in before.items():
        connection.execute("DELETE FROM points WHERE step = ? AND at < ?", (step_s, at))
    if _is_nearly_full(connection):
        (first,) = connection.execute("SELECT min(at) FROM points WHERE step = ?", (MINUTE_S,)).fetchone()
        if first is not None:
            connection.execute("DELETE FROM points WHERE step = ? AND at < ?", (MINUTE_S, first + HOUR_S))
    connection.execute("DELETE FROM series WHERE seen < ? AND kind != ?", (min(before.values()) - 2 * HOUR_S, LIMIT))
    connection.execute("DELETE FROM marks WHERE at < ?", (min(before.values()),))
    connection.execute("DELETE FROM marks WHERE id <= (SELECT max(id) FROM marks) - ?", (MOST_MARKS,))


def add_marks(marks: Sequence[Mark], connection: sqlite3.Connection) -> None:
    """Write marks."""
    connection.executemany("INSERT INTO marks (at, kind, subject, text) VALUES (?, ?, ?, ?)", marks)


def marks_between(begin: float, end: float, most: int, connection: sqlite3.Connection) -> list[Mark]:
    """The marks of a time, the newest first."""
    query = "SELECT at, kind, subject, text FROM marks WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT ?"
    return connection.execute(query, (begin, end, most)).fetchall()


def _is_nearly_full(connection: sqlite3.Connection) -> bool:
    pages, free, most = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "max_page_count")
    )
    return bool(pages - free > _FULL_SHARE * most)
