"""The table of dead letters that all servers of a cluster use: lists, single letters, and its bounds.

No server has the letters in memory. The bounds hold for the table as a whole, and each server that has buried a letter
sees to them: those that are too many are found by one statement, so that two servers that look at once remove the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, and_, delete, func, or_, select

from gearman_server.cluster.letters import LetterChoice, LetterPage, Place
from gearman_server.jobs.dead_letters import OVERHEAD_BYTES, DeadLetter
from gearman_server.options.text_search import MAX_PAGE_BYTES, READ_BYTES
from gearman_server.sharing.directory import ids_of
from gearman_server.stores.letters_table import LETTERS, letter_of_row, read_letters_of

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetterBounds
    from gearman_server.jobs.job import Job
    from gearman_server.sharing.reader import Reader

#: Rows that are read at once, those in which a text is looked for, and all of one page at most.
_ROWS_AT_ONCE: Final = 500
_TEXTS_AT_ONCE: Final = 50
_MAX_LOOKS: Final = 4000
#: Of a workload and an error, for a line of a list.
_CUT_BYTES: Final = 1000
_c: Final = LETTERS.c
_WHOLE: Final = ("id", "priority", "failures", "losses", "submitted_at", "first_started_at", "last_started_at")
_WHOLE_TEXTS: Final = ("handle", "function_name", "unique_key", "reducer", "options")
_LINE: Final = [
    *(_c[name] for name in (*_WHOLE, "died_at", *_WHOLE_TEXTS)),
    func.substr(_c.error, 1, _CUT_BYTES).label("error"),
    func.substr(_c.traceback, 1, 0).label("traceback"),
    func.substr(_c.workload, 1, _CUT_BYTES).label("workload"),
    func.length(_c.workload).label("workload_bytes"),
]
#: What else a search for a text reads.
_TEXTS: Final = [
    func.substr(_c[name], 1, READ_BYTES).label(f"read_{name}") for name in ("workload", "error", "traceback")
]
_HANDLE: Final = [_c[name] for name in ("id", "died_at", "handle", "options")]
_SIZE: Final = (
    func.length(_c.workload)
    + func.length(_c.error)
    + func.length(_c.traceback)
    + func.length(_c.unique_key)
    + func.coalesce(func.length(_c.options), 0)
    + OVERHEAD_BYTES
)


class _Wanted(NamedTuple):
    """What is read of letters."""

    columns: Sequence[Any]
    #: Makes it of a row.
    made: Callable[[dict[str, Any]], Any]


class _Portion(NamedTuple):
    """The letters that were found by one question, the oldest first."""

    found: list[Any]
    #: How many letters were looked at.
    looks: int
    #: The place behind which the next portion begins; None: there are no more letters.
    behind: Place | None


def _line_of(row: dict[str, Any]) -> tuple[DeadLetter, int]:
    return letter_of_row(row), int(row["workload_bytes"])


_LINES: Final = _Wanted(_LINE, _line_of)
_HANDLES: Final = _Wanted(_HANDLE, lambda row: bytes(row["handle"]))


class SharedLetters:
    """A `LetterTable`."""

    def __init__(self, reader: Reader, insert: Callable[[Job], None]) -> None:
        self._reader = reader
        #: Notes the job with its letter in the store's next batch.
        self.insert = insert

    def page(
        self,
        choice: LetterChoice,
        after: Place | None,
        limit: int,
        answer: Callable[[LetterPage | None], None],
        is_awaited: Callable[[], bool],
    ) -> None:
        """Some of the letters behind a place."""
        found: list[tuple[DeadLetter, int]] = []
        looks = 0

        def take(portion: _Portion | None) -> None:
            nonlocal looks
            if portion is None or not is_awaited():
                answer(None)
                return
            found.extend(portion.found)
            looks += portion.looks
            search = choice.has_text
            is_long = looks >= _MAX_LOOKS or (search is not None and search.read_bytes >= MAX_PAGE_BYTES)
            if portion.behind is None or len(found) == limit or is_long:
                answer(LetterPage(found, portion.behind))
            else:
                ask(portion.behind)

        def ask(place: Place | None) -> None:
            most = limit - len(found)
            self._reader.ask(partial(_portion, choice=choice, after=place, wanted=_LINES, most=most), take)

        ask(after)

    def choose(
        self,
        choice: LetterChoice,
        answer: Callable[[list[bytes] | None], None],
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> None:
        """The handles of all letters that meet the conditions."""
        found: list[bytes] = []

        def take(portion: _Portion | None) -> None:
            if portion is None or not is_awaited():
                answer(None)
                return
            found.extend(portion.found)
            if portion.behind is None:
                answer(found)
            else:
                ask(portion.behind)

        def ask(place: Place | None) -> None:
            self._reader.ask(partial(_portion, choice=choice, after=place, wanted=_HANDLES), take)

        ask(None)

    def get(self, handles: Sequence[bytes], answer: Callable[[list[DeadLetter] | None], None]) -> None:
        """Those of the letters that exist."""
        self._reader.ask(partial(_get, handles=handles), answer)

    def drop(self, handles: Sequence[bytes], answer: Callable[[int | None], None]) -> None:
        """Remove those that exist."""
        self._reader.ask(partial(_drop, handles=handles), answer)


class Tidied(NamedTuple):
    """What the table has once the bounds hold, and how many rows had to go for that."""

    kept: int
    size_bytes: int
    too_many: int
    too_old: int


def tidy(connection: Connection, bounds: DeadLetterBounds, ages_s: Mapping[bytes, float], unix_now: float) -> Tidied:
    """Remove the letters that are too old, and the oldest of those that are too many or too large together. `ages_s`:
    the ages of functions that have one of their own."""
    count = size_bytes = 0
    too_many: list[int] = []
    too_old: list[int] = []
    query = select(_c.id, _c.died_at, _c.function_name, _SIZE).order_by(_c.died_at.desc(), _c.id.desc())
    for number, died_at, function, letter_bytes in connection.execute(query):
        if died_at <= unix_now - min(bounds.max_age_s, ages_s.get(bytes(function), bounds.max_age_s)):
            too_old.append(int(number))
        elif too_many or count >= bounds.max_count or size_bytes + int(letter_bytes) > bounds.max_bytes:
            too_many.append(int(number))
        else:
            count, size_bytes = count + 1, size_bytes + int(letter_bytes)
    return Tidied(count, size_bytes, _delete(connection, too_many), _delete(connection, too_old))


def _delete(connection: Connection, ids: Sequence[int]) -> int:
    gone = 0
    for at in range(0, len(ids), _ROWS_AT_ONCE):
        gone += connection.execute(delete(LETTERS).where(_c.id.in_(ids[at : at + _ROWS_AT_ONCE]))).rowcount
    return gone


def _conditions(choice: LetterChoice, after: Place | None) -> list[Any]:
    conditions: list[Any] = []
    if choice.handles is not None:
        conditions.append(_c.id.in_(ids_of(list(choice.handles))))
    if choice.function is not None:
        conditions.append(_c.function_name == choice.function)
    if choice.unique is not None:
        conditions.append(_c.unique_key == choice.unique)
    if choice.died_since:
        conditions.append(_c.died_at >= choice.died_since)
    if choice.died_before != float("inf"):
        conditions.append(_c.died_at <= choice.died_before)
    if after is not None:
        is_later = _c.died_at > after.died_at
        conditions.append(or_(is_later, and_(_c.died_at == after.died_at, _c.id > after.id)))
    return conditions


def _portion(
    connection: Connection, choice: LetterChoice, after: Place | None, wanted: _Wanted, most: int | None = None
) -> _Portion:
    """The letters of one statement behind a place, at most so many: each portion is a question of its own, which has
    its own time, and others have theirs in between."""
    read = [*wanted.columns, *_TEXTS] if choice.has_text is not None else [*wanted.columns]
    at_once = _ROWS_AT_ONCE if choice.has_text is None else _TEXTS_AT_ONCE
    # The texts of letters that follow later are not read for finding the first ones: on PostgreSQL 10,000 letters of
    # 6 KB are searched in 0.5 s instead of 4. An index on this order would save a tenth of that.
    first = select(_c.id).where(*_conditions(choice, after)).order_by(_c.died_at, _c.id).limit(at_once + 1).subquery()
    query = select(*read).select_from(LETTERS.join(first, first.c.id == _c.id)).order_by(_c.died_at, _c.id)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    found: list[Any] = []
    for looks, row in enumerate(rows[:at_once], 1):
        if _is_meant(choice, row):
            found.append(wanted.made(row))
        if len(found) == most or looks == at_once:
            return _Portion(found, looks, _place_of(row) if looks < len(rows) else None)
    return _Portion(found, len(rows), None)


def _is_meant(choice: LetterChoice, row: Mapping[str, Any]) -> bool:
    if choice.handles is not None and bytes(row["handle"]) not in choice.handles:
        return False
    if choice.has_options is not None and not choice.has_options(bytes(row["options"] or b"")):
        return False
    return choice.has_text is None or choice.has_text(
        *(bytes(row[name] or b"") for name in ("read_workload", "read_error", "read_traceback"))
    )


def _place_of(row: Mapping[str, Any]) -> Place:
    return Place(row["died_at"], int(row["id"]))


def _get(connection: Connection, handles: Sequence[bytes]) -> list[DeadLetter]:
    letters = {letter.handle: letter for letter in read_letters_of(connection, ids_of(handles))}
    return [letters[handle] for handle in handles if handle in letters]


def _drop(connection: Connection, handles: Sequence[bytes]) -> int:
    query = select(_c.id, _c.handle).where(_c.id.in_(ids_of(handles)))
    wanted = set(handles)
    return _delete(connection, [int(number) for number, handle in connection.execute(query) if bytes(handle) in wanted])


def claim_letters(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Remove the letters with these ids that are ours to remove: those that exist, and that no other server is just
    removing. Returns their ids."""
    query = select(_c.id).where(_c.id.in_(ids)).with_for_update(skip_locked=True)
    ours = [int(row[0]) for row in connection.execute(query)]
    _delete(connection, ours)
    return set(ours)
