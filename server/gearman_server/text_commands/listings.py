"""Long lists in pages: each answer has some lines, and a cursor for the next page. Pure.

A listing is a snapshot of handles: an entry that exists all the time is listed exactly once, no matter how many others
come and go meanwhile. A page looks at a limited number of them, matching or not, so that no request holds others up. A
few listings that were not read to their end are kept for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda

DEFAULT_LINES: Final = 100
MAX_LINES: Final = 1000
#: The number of handles that a page looks at, which takes two milliseconds.
MAX_LOOKS: Final = 4000
MAX_OPEN: Final = 4
#: How long a listing waits for the next request for a page.
PATIENCE_S: Final = 60.0

#: Returns the line of a handle; None if it is gone, or does not match.
Line = Callable[[bytes], bytes | None]


class UnknownCursorError(Exception):
    """The listing to which a cursor belongs is gone."""


class Listings:
    """Listings that were begun, by number."""

    def __init__(self, agenda: Agenda) -> None:
        #: The handles, and until when they are kept (monotonic seconds); the listing with the oldest request first.
        self._open: dict[int, tuple[list[bytes], float]] = {}
        self._last_number = 0
        self._alarm = agenda.alarm(self._look)

    def begin(self, handles: Iterable[bytes], line: Line, limit: int, now: float) -> tuple[list[bytes], bytes | None]:
        """The first page, and the cursor for the next page, or None if there is none."""
        self._last_number += 1
        return self._page(self._last_number, list(handles), 0, (line, limit), now)

    def go_on(self, cursor: bytes, line: Line, limit: int, now: float) -> tuple[list[bytes], bytes | None]:
        """The page at that cursor, and the next cursor as with `begin`.

        Raises:
            UnknownCursorError: it is too old, too many others were begun since, or there never was such a cursor.
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
