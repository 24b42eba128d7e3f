"""The end of an attempt, or of a job that had none, and how a job server tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gearman_client.errors import AdminError
from gearman_client.text import unescaped
from gearman_manager.control.server_access import refusal
from gearman_manager.finished.outcomes import FAILURES

_COLUMNS: Final = 21
#: Numbers are below it, as SQLite has them; and times, which have a date then.
_MOST: Final = 2**63
_LAST_S: Final = 2.0**36
_REFUSAL: Final = b"ERR "


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """How one attempt of a job ended, or a job that had none. Times are seconds since 1970."""

    #: The job server's address, and which of its runs it was.
    server: str
    run: str
    #: Its number in that run, from 1. Numbers that are missing were not kept by the server.
    number: int
    #: When it ended.
    at: float
    handle: str
    function: str
    unique: str
    #: high, normal or low.
    priority: str
    is_background: bool
    #: One of `outcomes.OUTCOMES`.
    outcome: str
    #: What follows: `retry`, another attempt; `dead`, a dead letter is kept; empty: the job is over.
    follows: str
    #: The number of the attempt, from 1; 0: the job was not begun, or not again.
    attempt: int
    submitted: float
    #: When the attempt began; None: it did not, or the server does not know.
    started: float | None
    #: The worker's client id and address; empty: there was none.
    worker: str
    host: str
    #: The reason; empty for a success.
    error: str
    #: The last part of the traceback; empty: there is none.
    traceback: str
    workload_bytes: int
    #: The first part of the workload, and of the result of a complete job; bytes that do not print stand as `\\xNN`.
    workload: str
    result: str
    #: Whether that is the whole workload, of which nothing is left out because it is private.
    is_whole: bool
    #: As `3/10`; empty: the worker told of none.
    progress: str
    tags: tuple[str, ...]
    #: In the manager's file; 0: it is not written yet.
    id: int = 0

    @property
    def is_failure(self) -> bool:
        """Whether it went wrong; nobody wanted that."""
        return self.outcome in FAILURES

    @property
    def is_over(self) -> bool:
        """Whether the job is over with it."""
        return self.follows != "retry"


@dataclass(frozen=True, slots=True)
class Page:
    """A server's answer."""

    lines: list[bytes]
    #: The server's run, and the cursor to go on with.
    run: str
    cursor: str
    #: How many ends before the cursor are not kept any more.
    missed: int


def read_page(answer: bytes) -> Page:
    """Read a server's answer to `jobs finished`.

    Raises:
        AdminError: the server refuses, or it is no such answer.
    """
    if answer.startswith(_REFUSAL):
        raise refusal(answer)
    *lines, last, end = (b"", b"", *answer.removesuffix(b"\n").split(b"\n"))
    word, _, rest = last.partition(b"\t")
    cursor, _, missed = rest.decode(errors="replace").partition("\t")
    if (word, end) != (b"next", b".") or not (missed.isascii() and missed.isdecimal()):
        raise AdminError("UNREADABLE", "it answers jobs finished with something else")
    return Page(lines[2:], cursor.partition(".")[0], cursor, int(missed))


def attempts_of(page: Page, server: str) -> Iterator[FinishedAttempt]:
    """The ends in a server's answer.

    Raises:
        AdminError: a line makes no sense.
    """
    for line in page.lines:
        try:
            yield _attempt(line.split(b"\t"), server, page.run)
        except ValueError as error:
            raise AdminError("UNREADABLE", f"a line of jobs finished makes no sense: {line[:100]!r}") from error


def _attempt(cells: list[bytes], server: str, run: str) -> FinishedAttempt:
    if len(cells) != _COLUMNS:
        raise ValueError("another number of columns")
    return FinishedAttempt(
        server=server,
        run=run,
        number=_whole(cells[0]),
        at=_time(cells[1]),
        handle=_text(cells[2]),
        function=_text(cells[3]),
        unique=_text(cells[4]),
        priority=_text(cells[5]),
        is_background=cells[6] == b"1",
        outcome=_text(cells[7]),
        follows=_text(cells[8]),
        attempt=_whole(cells[9]),
        submitted=_time(cells[10]),
        started=_time(cells[11]) if cells[11] else None,
        worker=_text(cells[12]),
        host=_text(cells[13]),
        error=_text(cells[14]),
        traceback=_text(cells[15]),
        workload_bytes=_whole(cells[16]),
        workload=cells[17].decode(errors="replace"),
        result=cells[18].decode(errors="replace"),
        is_whole=len(unescaped(cells[17])) == int(cells[16]),
        progress=_text(cells[19]),
        tags=tuple(_text(cells[20]).split("\0")) if cells[20] else (),
    )


def _whole(cell: bytes) -> int:
    number = int(cell)
    if not 0 <= number < _MOST:
        raise ValueError("no such number can be kept")
    return number


def _time(cell: bytes) -> float:
    unix_s = float(cell)
    if not 0 <= unix_s < _LAST_S:  # nor nan
        raise ValueError("no such time can be kept")
    return unix_s


def _text(cell: bytes) -> str:
    return (unescaped(cell) if b"\\" in cell else cell).decode(errors="replace")
