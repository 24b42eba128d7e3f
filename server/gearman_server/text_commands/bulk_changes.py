"""Changes to very many jobs at the word of an administrator, a few at a time, so that nobody else waits. Pure.

The answer is the count, and leaves once all is done; whatever the connection asks for meanwhile is answered behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.session import Session

#: Some two milliseconds' worth.
AT_ONCE: Final = 500


class BulkChanges:
    """Carries them out."""

    def __init__(self, agenda: Agenda, touched: set[Session]) -> None:
        self._agenda = agenda
        self._touched = touched

    def start(self, session: Session, handles: Sequence[bytes], change: Callable[[bytes], bool], now: float) -> bytes:
        """Have `change` called with each handle; it says whether there was something to change.

        Returns the answer, empty if it follows later.
        """
        changed = sum(map(change, handles[:AT_ONCE]))
        if len(handles) <= AT_ONCE:
            return _answer(changed)
        gap = session.withhold()

        def go_on(start: int, changed: int, now: float) -> None:
            changed += sum(map(change, handles[start : start + AT_ONCE]))
            start += AT_ONCE
            if start < len(handles):
                self._agenda.add(now, lambda now: go_on(start, changed, now))
            elif session.ending is None:
                gap.release(_answer(changed))
                self._touched.add(session)

        self._agenda.add(now, lambda now: go_on(AT_ONCE, changed, now))
        return b""


def _answer(changed: int) -> bytes:
    return b"OK %d\n" % changed
