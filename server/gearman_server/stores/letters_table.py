"""Dead letters in the table `gearman_dead`. They are few and rarely written, so nothing in here has to be fast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, insert, select, table

from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.store import number_of

_BYTES: Final = ("handle", "function_name", "unique_key", "reducer", "error", "traceback", "options", "workload")
_NUMBERS: Final = ("priority", "failures", "losses", "submitted_at", "first_started_at", "last_started_at", "died_at")
LETTERS: Final = table(
    "gearman_dead",
    column("id", BigInteger()),
    *(column(name) for name in _NUMBERS),
    *(column(name, LargeBinary()) for name in _BYTES),
)
#: Ids in one statement.
_MAX_IDS: Final = 500
#: A row always has room for so much of an error.
_ERROR_BYTES: Final = 1000


def write_letters(connection: Connection, letters: Iterable[DeadLetter], room_bytes: int | None = None) -> None:
    """Add letters; each replaces one with the same handle. If a workload fills its row, almost nothing of the error and
    the traceback is written."""
    rows = [_row(letter if room_bytes is None else _fitting(letter, room_bytes)) for letter in letters]
    _delete(connection, [row["id"] for row in rows])
    if rows:
        connection.execute(insert(LETTERS), rows)


def forget_letters(connection: Connection, handles: Iterable[bytes]) -> None:
    """Remove the letters that exist."""
    _delete(connection, [number_of(handle) for handle in handles])


def read_letters(connection: Connection) -> list[DeadLetter]:
    """All letters, the oldest first."""
    rows = connection.execute(select(LETTERS).order_by(LETTERS.c.died_at, LETTERS.c.id)).mappings()
    return [letter_of_row(dict(row)) for row in rows]


def read_letters_of(connection: Connection, ids: list[int]) -> list[DeadLetter]:
    """The letters that have these ids."""
    rows = connection.execute(select(LETTERS).where(LETTERS.c.id.in_(ids))).mappings()
    return [letter_of_row(dict(row)) for row in rows]


def _delete(connection: Connection, ids: list[int]) -> None:
    for at in range(0, len(ids), _MAX_IDS):
        connection.execute(delete(LETTERS).where(LETTERS.c.id.in_(ids[at : at + _MAX_IDS])))


def _fitting(letter: DeadLetter, room_bytes: int) -> DeadLetter:
    left_bytes = max(0, room_bytes - len(letter.workload))
    error = letter.error[: max(_ERROR_BYTES, left_bytes)]
    begin = max(0, len(letter.traceback) - max(0, left_bytes - len(error)))
    return replace(letter, error=error, traceback=letter.traceback[begin:])


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": number_of(letter.handle),
        **{name: getattr(letter, name) for name in _NUMBERS},
        "handle": letter.handle,
        "function_name": letter.function,
        "unique_key": letter.unique,
        "reducer": letter.reducer,
        "error": letter.error,
        "traceback": letter.traceback,
        "options": letter.options or None,
        "workload": letter.workload,
    }


def letter_of_row(row: dict[str, Any]) -> DeadLetter:
    """The letter in a row."""
    texts = {name: None if row[name] is None else bytes(row[name]) for name in _BYTES}
    return DeadLetter(
        handle=texts["handle"] or b"",
        function=texts["function_name"] or b"",
        unique=texts["unique_key"] or b"",
        reducer=texts["reducer"],
        error=texts["error"] or b"",
        traceback=texts["traceback"] or b"",
        options=texts["options"] or b"",
        workload=texts["workload"] or b"",
        **{name: row[name] for name in _NUMBERS},
    )
