"""Which of the other servers is dead: one whose beats have stopped for a whole lease; and for how long a server may be
certain that the others do not think so of itself. Pure.

No clock of another machine counts, not even the database's, since the nodes of a database's cluster have one each: a
server is watched by the number of its last beat, on our own monotonic clock. Whoever does not get through to the
database itself knows nothing of the others, and accuses nobody before it has watched for a whole lease again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gearman_server.cluster.members import BEAT_EVERY_S, LEASE_MARGIN_S, MemberState

if TYPE_CHECKING:
    from gearman_server.cluster.members import Member

#: Our own beats may come this many times later than they should before we watch anew.
_LATE: int = 3


def trusted_until(sent_at: float, lease_s: float) -> float:
    """Until when nobody else can have taken the jobs of a server that began to send its last beat at that time, and
    whose beat has succeeded (monotonic seconds of that server)."""
    return sent_at + lease_s - LEASE_MARGIN_S


class Watch:
    """Watches the beats of the others."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        #: The number of each server's last beat, and when it was seen first (monotonic seconds).
        self._beats: dict[int, tuple[int | None, float]] = {}
        #: When our own last beat succeeded.
        self._beaten_at = float("-inf")

    def overdue(self, members: Iterable[Member], own_id: int, now: float) -> list[int]:
        """The ids of the others whose beats have stopped for a lease. Call this after each beat of our own that has
        succeeded, with what was read then, and the time after that (monotonic seconds)."""
        if now - self._beaten_at > _LATE * BEAT_EVERY_S:
            self._beats.clear()
        self._beaten_at = now
        seen, self._beats = self._beats, {}
        overdue = []
        for member in members:
            if member.id == own_id or member.state is not MemberState.ALIVE:
                continue
            beat, since = seen.get(member.id, (None, now))
            if member.id not in seen or beat != member.beat:
                since = now
            self._beats[member.id] = member.beat, since
            if now - since > self._lease_s:
                overdue.append(member.id)
        return overdue
