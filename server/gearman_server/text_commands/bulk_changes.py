"""Changes that an administrator orders for very many jobs, made a few at a time, so that nobody else waits. Pure.

The answer is the count, and leaves once all are done; later requests of the connection are answered after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.session import Session

#: The number of changes made at once, which takes some two milliseconds.
AT_ONCE: Final = 500


class BulkChanges:
    """Carries out bulk changes."""

    def __init__(self, agenda: Agenda, touched: set[Session]) -> None:
        self._agenda = agenda
        self._touched = touched

    def start(self, session: Session, handles: Sequence[bytes], change: Callable[[bytes], bool], now: float) -> bytes:
        """Call `change` with each handle; it returns whether there was something to change.

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
