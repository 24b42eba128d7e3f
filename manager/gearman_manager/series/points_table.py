"""The tables of points and of marks in the history's file. All of it runs in the file's thread, in its transactions.

A point's key is made of its time and then of its series' number. So a minute is written behind all others, to a few
pages of the file, and an old one is deleted from a few. Those of one series are looked up one by one, in microseconds.
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
#: Series, and names of limits, that the file knows at most; their numbers are from 1 up to this.
MOST_NAMES: Final = 5000
_KEYS: Final = 8192  #: of one time
MOST_MARKS: Final = 10_000
#: Of the file's pages, the part from which old minutes have to go sooner than they should.
_FULL_SHARE: Final = 0.9
#: Points and marks that are later than now by more were written by a clock that was ahead.
_AHEAD_S: Final = HOUR_S
#: Points of a step have a table of their own: SQLite packs pages to which rows are only appended.
_TABLES: Final = {MINUTE_S: "minutes", HOUR_S: "hours"}
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, seen INTEGER, "
    "UNIQUE (kind, name))",
    *(f"CREATE TABLE IF NOT EXISTS {name} (key INTEGER PRIMARY KEY, figures BLOB)" for name in _TABLES.values()),
    "CREATE TABLE IF NOT EXISTS marks (id INTEGER PRIMARY KEY, at REAL, kind TEXT, subject TEXT, text TEXT)",
    "CREATE INDEX IF NOT EXISTS marks_at ON marks (at)",
)
_OF_SERIES: Final = """
    WITH RECURSIVE keys (key) AS (SELECT ? UNION ALL SELECT key + {step} FROM keys WHERE key + {step} < ?)
    SELECT points.key, points.figures FROM keys CROSS JOIN {table} AS points ON points.key = keys.key
"""

#: Something that has happened: when (seconds since 1970), of which kind, to whom, and in words.
Mark = tuple[float, str, str, str]


def numbers(keys: Iterable[Key], now: int, connection: sqlite3.Connection) -> dict[Key, int]:
    """The numbers of series, which get one if they have none; of too many the last ones have none."""
    known: dict[Key, int] = {
        (kind, name): number for number, kind, name in connection.execute("SELECT id, kind, name FROM series")
    }
    wanted = list(keys)
    used = set(known.values())
    free = (number for number in range(1, MOST_NAMES + 1) if number not in used)
    fresh = [(number, *key) for key, number in zip((key for key in wanted if key not in known), free, strict=False)]
    connection.executemany(
        "INSERT INTO series (id, kind, name, seen) VALUES (?, ?, ?, ?)", [(*each, now) for each in fresh]
    )
    known |= {(kind, name): number for number, kind, name in fresh}
    return {key: known[key] for key in wanted if key in known}


def write(step_s: int, at: int, points: Mapping[int, bytes], connection: sqlite3.Connection) -> None:
    """Write the points of one time, by the numbers of their series."""
    first = _key(step_s, at)
    rows = [(first + series, points[series]) for series in sorted(points)]
    connection.executemany(f"INSERT OR REPLACE INTO {_TABLES[step_s]} (key, figures) VALUES (?, ?)", rows)
    if step_s == HOUR_S:
        connection.executemany("UPDATE series SET seen = ? WHERE id = ?", [(at, series) for series in points])


def points_at(step_s: int, at: int, connection: sqlite3.Connection) -> dict[int, bytes]:
    """The points of one time, by the numbers of their series."""
    query = f"SELECT key, figures FROM {_TABLES[step_s]} WHERE key >= ? AND key < ?"
    first = _key(step_s, at)
    return {key - first: text for key, text in connection.execute(query, (first, first + _KEYS))}


def points_of(key: Key, step_s: int, begin: int, end: int, connection: sqlite3.Connection) -> dict[int, bytes]:
    """The points of one series from one time until before another, by their times."""
    row = connection.execute("SELECT id FROM series WHERE kind = ? AND name = ?", key).fetchone()
    if row is None or begin >= end:
        return {}
    query = _OF_SERIES.format(step=_KEYS, table=_TABLES[step_s])
    bounds = (_key(step_s, begin) + row[0], _key(step_s, end))
    return {_time(step_s, found): text for found, text in connection.execute(query, bounds)}


def _key(step_s: int, at: int) -> int:
    """Where the keys of a time begin."""
    return at // step_s * _KEYS


def _time(step_s: int, key: int) -> int:
    return key // _KEYS * step_s


def names_of(kind: str, connection: sqlite3.Connection) -> dict[int, str]:
    """The names of this kind, by number."""
    return dict(connection.execute("SELECT id, name FROM series WHERE kind = ?", (kind,)).fetchall())


def hour_to_sum(now: int, connection: sqlite3.Connection) -> int | None:
    """The first hour that is over, and of which there are minutes but no sum; None: there is none."""
    # No hour of the future: it was written while the clock was ahead, and would end the sums until that time comes.
    (last,) = connection.execute("SELECT max(key) FROM hours WHERE key < ?", (_key(HOUR_S, now),)).fetchone()
    begin = 0 if last is None else _time(HOUR_S, last) + HOUR_S
    bounds = (_key(MINUTE_S, begin), _key(MINUTE_S, now - now % HOUR_S))
    (first,) = connection.execute("SELECT min(key) FROM minutes WHERE key >= ? AND key < ?", bounds).fetchone()
    return None if first is None else _time(MINUTE_S, first) // HOUR_S * HOUR_S


def trim(before: Mapping[int, int], now: int, connection: sqlite3.Connection) -> None:
    """Delete the points before these times, by their steps; and more minutes, an hour at a time, if the file is nearly
    full. Series without points lose their names, and there are only so many marks. Whatever is of the future goes too:
    it was written while the clock was ahead."""
    for step_s, at in before.items():
        bounds = (_key(step_s, at), _key(step_s, now + _AHEAD_S))
        connection.execute(f"DELETE FROM {_TABLES[step_s]} WHERE key < ? OR key >= ?", bounds)
    connection.execute("DELETE FROM marks WHERE at >= ?", (now + _AHEAD_S,))
    connection.execute("UPDATE series SET seen = ? WHERE seen > ?", (now, now + _AHEAD_S))
    if _is_nearly_full(connection):
        (first,) = connection.execute("SELECT min(key) FROM minutes").fetchone()
        if first is not None:
            connection.execute("DELETE FROM minutes WHERE key < ?", (first + _KEYS * (HOUR_S // MINUTE_S),))
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
