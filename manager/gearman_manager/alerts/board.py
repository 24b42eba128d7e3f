"""Decides when troubles are told: together with others, not again too soon, and once they are over. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gearman_manager.alerts.rules import Finding

#: How long the first trouble waits for others, so that a storm is one message.
GATHER_S: Final = 3.0
#: The least time between two messages: what comes meanwhile is told together.
GAP_S: Final = 60.0
#: A trouble is over when it has not been seen for so long.
CALM_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Solved:
    """A trouble that is over."""

    finding: Finding
    at: float


@dataclass(frozen=True, slots=True)
class Digest:
    """What one message tells."""

    new: tuple[Finding, ...] = ()
    lasting: tuple[Finding, ...] = ()  #: told before
    solved: tuple[Solved, ...] = ()


@dataclass(slots=True)
class _Entry:
    finding: Finding
    is_there: bool = True
    seen_at: float = 0.0
    told_at: float | None = None
    is_open: bool = False  #: it was told, and its end was not
    pending_since: float | None = None  #: since when there is something to tell of it


class Board:
    """The troubles that there are, and those that were told."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._last_message_at = -GAP_S

    def take_in(self, now: float, found: Iterable[Finding], again_s: float) -> None:
        """Note what is a trouble now."""
        there = {finding.key: finding for finding in found}
        for key, finding in there.items():
            entry = self._entries.setdefault(key, _Entry(finding))
            if not entry.is_there and now - entry.seen_at < CALM_S:
                finding = entry.finding  # it was away for a moment: its beginning stands
            entry.finding, entry.is_there, entry.seen_at = finding, True, now
        for key, entry in list(self._entries.items()):
            entry.is_there = key in there
            if self._is_to_be_told(entry, now, again_s):
                entry.pending_since = now if entry.pending_since is None else entry.pending_since
            else:
                entry.pending_since = None
            is_forgotten = entry.told_at is None or now >= entry.told_at + again_s
            if not entry.is_there and not entry.is_open and is_forgotten:
                del self._entries[key]

    def digest(self, now: float) -> Digest | None:
        """What is to be told now, together; None: nothing, or not yet."""
        pending = [entry for entry in self._entries.values() if entry.pending_since is not None]
        first = min((entry.pending_since for entry in pending if entry.pending_since is not None), default=None)
        if first is None or now < max(first + GATHER_S, self._last_message_at + GAP_S):
            return None
        self._last_message_at = now
        new = tuple(entry.finding for entry in pending if entry.is_there and not entry.is_open)
        lasting = tuple(entry.finding for entry in pending if entry.is_there and entry.is_open)
        solved = tuple(Solved(entry.finding, entry.seen_at) for entry in pending if not entry.is_there)
        for entry in pending:
            entry.pending_since = None
            entry.is_open = entry.is_there
            if entry.is_there:
                entry.told_at = now
        return Digest(new, lasting, solved)

    @staticmethod
    def _is_to_be_told(entry: _Entry, now: float, again_s: float) -> bool:
        if not entry.is_there:
            return entry.is_open and now - entry.seen_at >= CALM_S
        return entry.told_at is None or now >= entry.told_at + again_s
