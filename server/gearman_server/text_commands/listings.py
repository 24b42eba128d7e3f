"""Long lists in pages: whoever asks gets some lines and a cursor for the next. Pure.

A listing is a snapshot of handles: what is there all the while is listed exactly once, however much comes and goes
meanwhile. A page looks at so many of them at most, matching or not, so that no request holds the others up. Of
listings that were begun and not read to their end a few are kept, for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda

DEFAULT_LINES: Final = 100
MAX_LINES: Final = 1000
#: Two milliseconds' worth.
MAX_LOOKS: Final = 4000
MAX_OPEN: Final = 4
#: How long a listing waits for the next request for a page.
PATIENCE_S: Final = 60.0

#: The line of a handle; None when it is gone, or not what was asked for.
Line = Callable[[bytes], bytes | None]


class UnknownCursorError(Exception):
    """The listing that a cursor belongs to is no longer there."""


class Listings:
    """Begun listings, by number."""

    def __init__(self, agenda: Agenda) -> None:
        #: Handles, and until when they are kept (monotonic seconds); the one asked for longest ago first.
        self._open: dict[int, tuple[list[bytes], float]] = {}
        self._last_number = 0
        self._alarm = agenda.alarm(self._look)

    def begin(self, handles: Iterable[bytes], line: Line, limit: int, now: float) -> tuple[list[bytes], bytes | None]:
        """The first page, and the cursor for the next; None when there is none."""
        self._last_number += 1
        return self._page(self._last_number, list(handles), 0, (line, limit), now)

    def go_on(self, cursor: bytes, line: Line, limit: int, now: float) -> tuple[list[bytes], bytes | None]:
        """The page at that cursor.

        Raises:
            UnknownCursorError: it took too long, too many others were begun since, or it never was one.
        """
        number, _, position = cursor.partition(b".")
        entry = self._open.pop(int(number), None) if _is_number(number) and _is_number(position) else None
        if entry is None:
            raise UnknownCursorError
        return self._page(int(number), entry[0], int(position), (line, limit), now)

    def _page(
        self, number: int, handles: list[bytes], start: int, wanted: tuple[Line, int], now: float
    ) -> tuple[list[bytes], bytes | None]:
        line_of, limit = wanted
        lines: list[bytes] = []
        position = start
        for handle in handles[start : start + MAX_LOOKS]:
            if len(lines) >= limit:
                break
            position += 1
            line = line_of(handle)
            if line is not None:
                lines.append(line)
        if position >= len(handles):
            return lines, None
        self._keep(number, handles, now)
        return lines, b"%d.%d" % (number, position)

    def _keep(self, number: int, handles: list[bytes], now: float) -> None:
        self._open[number] = (handles, now + PATIENCE_S)
        if len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._alarm.by(now + PATIENCE_S)

    def _look(self, now: float) -> None:
        self._open = {number: entry for number, entry in self._open.items() if entry[1] > now}
        if self._open:
            self._alarm.by(now + PATIENCE_S)


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= 18
