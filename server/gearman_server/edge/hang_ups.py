"""Sees that peers have left from which nothing is read just now, because a request of theirs takes many turns."""

from __future__ import annotations

from select import POLLRDHUP
from time import monotonic
from typing import TYPE_CHECKING, Final

from gevent.monkey import get_original

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session

#: A peer that sends no more may still read, as `nc -N` does; to TCP a program that was ended looks the same, until
#: something is sent to it.
PATIENCE_S: Final = 5.0
#: Not that of a program which embeds the server and is monkey-patched: it would switch greenlets in a callback.
_poll: Final = get_original("select", "poll")


class HangUps:
    """The peers that send no more."""

    def __init__(self) -> None:
        #: Since when (monotonic seconds).
        self._since: dict[Session, float] = {}

    def has_left(self, session: Session) -> bool:
        """Whether the peer of an open connection reads no further answer, as far as one can know."""
        poll = _poll()
        poll.register(session.number, POLLRDHUP)
        events = sum(event for _, event in poll.poll(0))
        if events & ~POLLRDHUP:
            return True
        now = monotonic()
        return bool(events) and now >= self._since.setdefault(session, now) + PATIENCE_S

    def forget(self, session: Session) -> None:
        """Its connection is closed."""
        self._since.pop(session, None)
