"""What is looked for among finished jobs, as a condition in SQL. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gearman_manager.finished.table import SHOWS_TEXT, TAG_MARK

_TEXTS: Final = ("workload", "error", "traceback")
_ESCAPE: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
#: Capital letters of ASCII do not matter to either. LIKE is three times as fast, but takes very long for a long pattern
#: in a text that nearly has it.
_IS_LIKE: Final = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in _TEXTS)
_HAS_TEXT: Final = " OR ".join(f"instr(lower({column}), lower(?)) > 0" for column in _TEXTS)
#: Characters of a pattern for LIKE.
_SHORT: Final = 24


@dataclass(frozen=True, slots=True)
class Wanted:
    """The conditions; None: any. All have to be met."""

    handle: str | None = None
    unique: str | None = None
    function: str | None = None
    tag: str | None = None
    outcome: str | None = None
    #: A part of the workload, or of the error or its traceback; capital letters of ASCII do not matter.
    text: str | None = None
    #: The time of the end: from, and up to (Unix seconds).
    since: float | None = None
    until: float | None = None
    #: Whether attempts that others follow are meant too, not only the ends of jobs.
    with_attempts: bool = False

    def condition(
        self, *, before: int | None = None, after: int | None = None, up_to: int | None = None
    ) -> tuple[str, list[Any]]:
        """The condition behind SELECT … FROM finished, and its values; `before`, `after` and `up_to` are ids."""
        clauses: list[str] = []
        values: list[Any] = []

        def add(clause: str, *given: object) -> None:
            clauses.append(clause)
            values.extend(given)

        if not self.with_attempts:
            add("follows <> 'retry'")
        for clause, number in (("id < ?", before), ("id > ?", after), ("id <= ?", up_to)):
            if number is not None:
                add(clause, number)
        for column, value in (
            ("handle", self.handle),
            ("unique_key", self.unique),
            ("function", self.function),
            ("outcome", self.outcome),
        ):
            if value is not None:
                add(f"{column} = ?", value)
        if self.since is not None:
            add("at >= ?", self.since)
        if self.until is not None:
            add("at <= ?", self.until)
        if self.tag is not None:
            add("instr(tags, ?) > 0", f"{TAG_MARK}{self.tag}{TAG_MARK}")
        if self.text is not None:
            is_short = len(self.text) <= _SHORT
            given = f"%{self.text.translate(_ESCAPE)}%" if is_short else self.text
            add(f"({_IS_LIKE if is_short else _HAS_TEXT})", *(given for _ in _TEXTS))
            add(f"{SHOWS_TEXT}(?, function, workload, error, traceback)", self.text)
        return f" WHERE {' AND '.join(clauses)}" if clauses else "", values
