"""This manager's part of the workers that a pool may have over all managers (`max_everywhere`). Pure.

A pool is the same on two managers if it has the same name. A manager announces its pools with such a maximum on the job
servers, so the others know of it before it has a worker. The maximum is divided evenly, the remainder by rank.

In doubt a manager stays low. It starts no worker before the others have had time to see it; it takes over the part of
another only some time after that one has gone from every job server; and what others still have beyond their parts is
subtracted from its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gearman_manager.scaling.allotment import Part
from gearman_manager.scaling.decision import Limit
from gearman_manager.scaling.neighbours import Peers, mark_of

#: How long a manager that every job server shows waits for the others, which ask for the connections every second.
JOIN_S: Final = 2.5
#: How long a manager must be away. After a job server's restart each manager is back within 2 s, and asks every second.
LEAVE_S: Final = 4.0


class Everywhere:
    """The memory of one pool."""

    def __init__(self, own_name: str, pool: str) -> None:
        self._own_name = own_name
        self._pool = pool
        self._mark = mark_of(pool)
        self._shown_since: float | None = None  # since then every job server that answers shows this manager
        self._hidden_since: float | None = None  # since then this is not so; None while it is
        self._clear_since: float | None = None  # since then this is so, and every job server answers
        self._others: dict[str, float | None] = {}  # by manager: since when it is away, None while it is there
        self._may_have_orphans = True  # workers of an earlier run of this manager, which was killed
        self.next_change: float | None = None  # when to call `part` again if nothing else happens

    def part(self, now: float, most: int, present: int, answering: Sequence[Peers], *, is_complete: bool) -> Part:
        """The part that counts now, of `most` workers.

        Args:
            present: the workers here, those that leave included.
            answering: the connections of each job server that answers.
            is_complete: whether every job server does.
        """
        moments = self._look(now, answering, is_complete=is_complete)
        self.next_change = min((moment for moment in moments if moment > now), default=None)
        names = sorted({*self._others, self._own_name})
        parts = {name: most // len(names) + (rank < most % len(names)) for rank, name in enumerate(names)}
        own = parts[self._own_name]
        beyond = sum(max(0, self._crew(name, answering) - parts[name]) for name in self._others)
        orphans = max(0, self._crew(self._own_name, answering) - present) if self._may_have_orphans else 0
        managers = f"{own} of {most} are this manager's part, with {len(names)} managers"
        limit = Limit("max_everywhere", "max_everywhere holds", managers if len(names) > 1 else f"{most} workers")
        if self._shown_since is None:
            detail, is_brief = "a job server has yet to show this manager to the others", now < self._hidden_until
            return Part(own, 0, limit, _waiting(detail, is_brief=is_brief))
        if now < self._shown_since + JOIN_S:
            return Part(own, 0, limit, _waiting("other managers have yet to see this one", is_brief=True))
        self._may_have_orphans = orphans > 0  # never again: later ones are those of the last moment
        if orphans:
            return Part(own, max(0, own - beyond - orphans), limit, _waiting(f"{orphans} workers of an earlier run"))
        return Part(own, max(0, own - beyond), limit, _waiting(f"{beyond} workers of others are beyond their part"))

    def _look(self, now: float, answering: Sequence[Peers], *, is_complete: bool) -> list[float]:
        """Note the managers that are there; returns the times at which that may change by itself."""
        announced = [peers.announced.get(self._mark, frozenset()) for peers in answering]
        is_shown = bool(announced) and all(self._own_name in names for names in announced)
        self._shown_since = (now if self._shown_since is None else self._shown_since) if is_shown else None
        self._hidden_since = None if is_shown else now if self._hidden_since is None else self._hidden_since
        is_clear = is_shown and is_complete
        self._clear_since = (now if self._clear_since is None else self._clear_since) if is_clear else None
        there = {name for names in announced for name in names}
        there |= {manager for peers in answering for manager, pool in peers.crews if pool == self._pool}
        there.discard(self._own_name)
        self._others = dict.fromkeys(there) | {
            name: now if since is None else since for name, since in self._others.items() if name not in there
        }
        moments = [self._hidden_until if self._shown_since is None else self._shown_since + JOIN_S]
        for name, since in list(self._others.items()):
            if since is None or self._clear_since is None:
                continue
            leaves_at = max(since, self._clear_since) + LEAVE_S
            moments.append(leaves_at)
            if now >= leaves_at:
                del self._others[name]
        return moments

    @property
    def _hidden_until(self) -> float:
        """Until then it is nothing unusual that a job server does not show this manager."""
        return -math.inf if self._hidden_since is None else self._hidden_since + JOIN_S

    def _crew(self, manager: str, answering: Sequence[Peers]) -> int:
        """The workers that a manager has in this pool; each is connected to every job server."""
        return max((peers.crews.get((manager, self._pool), 0) for peers in answering), default=0)


def _waiting(detail: str, *, is_brief: bool = False) -> Limit:
    return Limit("max_everywhere", "max_everywhere holds", detail, is_brief=is_brief)
