"""The last decisions for one pool: only changes are kept, and a repeated decision extends the one before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_manager.scaling.decision import Decision

#: Decisions kept for a pool: some 30 kB.
DECISIONS_KEPT: Final = 50


@dataclass(slots=True)
class RepeatedDecision:
    """A decision as it was made first and last, until when it held, and how often it was made."""

    first: Decision
    last: Decision
    until: float
    times: int = 1


class RecentDecisions:
    """The memory of one pool."""

    def __init__(self, kept: int = DECISIONS_KEPT) -> None:
        self._kept = kept
        self._entries: list[RepeatedDecision] = []

    @property
    def entries(self) -> Sequence[RepeatedDecision]:
        """The decision that holds is the last one."""
        return self._entries

    @property
    def last(self) -> Decision | None:
        """The decision that holds; None before the first one."""
        return self._entries[-1].last if self._entries else None

    def record(self, decision: Decision) -> tuple[Decision, bool]:
        """Take in a decision; returns it with the times since which its limits hold, and whether it is another one."""
        before = self.last
        since = {} if before is None else {s.limit.name: s.since for s in before.steps if s.since is not None}
        decision = decision.with_since(since)
        is_new = before is None or before.key != decision.key
        if is_new:
            self._begin(decision)
        else:
            entry = self._entries[-1]
            entry.last, entry.until = decision, decision.at
            entry.times += 1
        return decision, is_new

    def _begin(self, decision: Decision) -> None:
        if self._entries:
            self._entries[-1].until = decision.at
        index = self._index_of_same(decision)
        if index is None:
            self._entries.append(RepeatedDecision(decision, decision, decision.at))
            del self._entries[: -self._kept]
        else:
            entry = self._entries.pop(index)
            entry.last, entry.until = decision, decision.at
            entry.times += 1
            self._entries.append(entry)

    def _index_of_same(self, decision: Decision) -> int | None:
        """The place of the same decision among those since the size changed last.

        Under load a pool's need rises above its size and falls below it many times a second: these turns of reasons for
        one size must not push out all that came before.
        """
        for index in range(len(self._entries) - 1, -1, -1):
            if self._entries[index].last.size != decision.size:
                return None
            if self._entries[index].last.key == decision.key:
                return index
        return None
