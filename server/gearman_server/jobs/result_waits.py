"""The sessions that wait for jobs' results, and their deadlines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.session import Session

#: The number of results for which one connection may wait at once.
MAX_WAITS: Final = 1000
#: The same for another server of the cluster.
MAX_PEER_WAITS: Final = 10_000
#: Waits whose time is over that are answered at once: a millisecond of work. The others follow.
TIMEOUTS_AT_ONCE: Final = 500


class Wait:
    """One request that is not answered yet."""

    __slots__ = ("handle", "has_deadline", "is_over", "session")

    def __init__(self, session: Session, handle: bytes) -> None:
        self.session = session
        self.handle = handle
        self.has_deadline = False
        self.is_over = False


class ResultWaits:
    """All requests that wait for a result."""

    def __init__(self, agenda: Agenda, time_out: Callable[[Wait], None]) -> None:
        self._time_out = time_out
        self._by_handle: dict[bytes, dict[Wait, None]] = {}
        self._by_session: dict[Session, set[Wait]] = {}
        self._deadlines: list[tuple[float, int, Wait]] = []
        self._serial = count()
        self._over = 0
        self._alarm = agenda.alarm(self._look)

    @property
    def handles(self) -> Iterable[bytes]:
        """The handles of all jobs for which a session waits."""
        return list(self._by_handle)

    def add(self, session: Session, handle: bytes, deadline: float | None) -> None:
        """Wait until the job ends, the deadline (monotonic seconds; None = none) passes, or the connection ends.

        Raises:
            RefusedError: the connection waits for too many results already.
        """
        waits = self._by_session.setdefault(session, set())
        if len(waits) >= (MAX_PEER_WAITS if session.is_peer else MAX_WAITS):
            raise RefusedError(b"TOO_MANY_WAITS", b"This connection waits for 1000 results already")
        wait = Wait(session, handle)
        waits.add(wait)
        self._by_handle.setdefault(handle, {})[wait] = None
        if deadline is not None:
            wait.has_deadline = True
            heappush(self._deadlines, (deadline, next(self._serial), wait))
            self._plan_look()

    def sessions(self, handle: bytes) -> list[Session]:
        """The sessions that wait for the job, in the order in which they asked."""
        return [wait.session for wait in self._by_handle.get(handle, ())]

    def end(self, handle: bytes) -> list[Session]:
        """End all waits for the job. Returns the sessions that waited."""
        waits = self._by_handle.pop(handle, {})
        for wait in waits:
            self._finish(wait)
        return [wait.session for wait in waits]

    def end_for(self, handle: bytes, sessions: Collection[Session]) -> list[Session]:
        """End the waits of these sessions for the job. Returns those that waited."""
        waits = [wait for wait in self._by_handle.get(handle, ()) if wait.session in sessions]
        for wait in waits:
            self._drop(wait)
        return [wait.session for wait in waits]

    def forget(self, session: Session) -> None:
        """End the waits of a connection that is gone."""
        for wait in list(self._by_session.get(session, ())):
            self._drop(wait)

    def _drop(self, wait: Wait) -> None:
        waits = self._by_handle[wait.handle]
        del waits[wait]
        if not waits:
            del self._by_handle[wait.handle]
        self._finish(wait)

    def _finish(self, wait: Wait) -> None:
        wait.is_over = True
        waits = self._by_session[wait.session]
        waits.discard(wait)
        if not waits:
            del self._by_session[wait.session]
        if not wait.has_deadline:
            return
        self._over += 1
        if self._over * 2 > len(self._deadlines):
            self._deadlines = [entry for entry in self._deadlines if not entry[2].is_over]
            heapify(self._deadlines)
            self._over = 0

    def _plan_look(self) -> None:
        if self._deadlines:
            self._alarm.by(self._deadlines[0][0])

    def _look(self, now: float) -> None:
        for _ in range(TIMEOUTS_AT_ONCE):
            if not self._deadlines or self._deadlines[0][0] > now:
                break
            wait = heappop(self._deadlines)[2]
            if wait.is_over:
                self._over -= 1
            else:
                wait.has_deadline = False
                self._drop(wait)
                self._time_out(wait)
        self._plan_look()
