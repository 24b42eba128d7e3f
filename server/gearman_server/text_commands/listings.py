"""Long lists in pages: each answer has some lines, and a cursor for the next page. Pure.

A listing is a snapshot of handles: an entry that exists all the time is listed exactly once, no matter how many others
come and go meanwhile. A page looks at a limited number of them, matching or not, a few at a time, so that no request
holds others up. A few listings that were not read to their end are kept for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gearman_server.options.text_search import MAX_PAGE_BYTES
from gearman_server.text_commands.arguments import CommandError
from gearman_server.text_commands.walk import Walk

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.session import Session
    from gearman_server.options.text_search import TextSearch
    from gearman_server.text_commands.arguments import Arguments
    from gearman_server.text_commands.bulk_changes import LongChanges

#: The number of handles at which a page looks: a tenth of a second.
MAX_LOOKS: Final = 100_000
MAX_OPEN: Final = 4
#: How long a listing waits for the next request for a page.
PATIENCE_S: Final = 60.0

#: Returns the line of a handle; None if it is gone, or does not match.
Line = Callable[[bytes], bytes | None]


class Listings:
    """Listings that were begun, by number."""

    def __init__(self, agenda: Agenda, long_changes: LongChanges) -> None:
        #: The handles, and until when they are kept (monotonic seconds); the listing with the oldest request first.
        self._open: dict[int, tuple[list[bytes], float]] = {}
        self._last_number = 0
        self._agenda = agenda
        self._alarm = agenda.alarm(self._look)
        self._long_changes = long_changes

    def page(
        self,
        session: Session,
        arguments: Arguments,
        handles: Iterable[bytes],
        line: Line,
        search: TextSearch | None = None,
    ) -> bytes:
        """A page of a list as an answer, empty if it follows later. A line with `next`, a TAB and a cursor means that
        there is more. `search` reads the texts of the entries, if anything does.

        Raises:
            CommandError: the cursor is too old, too many other lists were begun since, or there never was such a one;
                or the arguments have names; or there are many searches for a text already.
        """
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"a list takes conditions such as function=NAME")
        if arguments.after is None:
            self._last_number += 1
            number, listing, start = self._last_number, list(handles), 0
        else:
            number, listing, start = self._found(arguments.after)
        walk = Walk(listing, search, start, MAX_LOOKS if arguments.looks is None else min(arguments.looks, MAX_LOOKS))
        lines: list[bytes] = []

        def look(handle: bytes) -> None:
            found = line(handle)
            if found is not None:
                lines.append(found)
            if len(lines) >= arguments.limit or (search is not None and search.read_bytes >= MAX_PAGE_BYTES):
                walk.stop()

        def answer() -> bytes:
            if walk.position < len(listing):
                self._keep(number, listing)
                lines.append(b"next\t%d.%d.%d\n" % (number, walk.position, len(listing)))
            return b"".join(lines) + b".\n"

        return self._long_changes.start_walk(session, walk, look, answer)

    def _found(self, cursor: bytes) -> tuple[int, list[bytes], int]:
        """The number of the listing at that cursor, its handles, and the position."""
        numbers = cursor.split(b".")
        is_one = len(numbers) == 3 and all(each.isdigit() and len(each) <= 18 for each in numbers)
        entry = self._open.pop(int(numbers[0]), None) if is_one else None
        if entry is None:
            raise CommandError(b"UNKNOWN_CURSOR", b"begin again without after=")
        return int(numbers[0]), entry[0], int(numbers[1])

    def _keep(self, number: int, handles: list[bytes]) -> None:
        until = self._agenda.now + PATIENCE_S
        self._open[number] = (handles, until)
        if len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._alarm.by(until)

    def _look(self, now: float) -> None:
        self._open = {number: entry for number, entry in self._open.items() if entry[1] > now}
        if self._open:
            self._alarm.by(now + PATIENCE_S)
