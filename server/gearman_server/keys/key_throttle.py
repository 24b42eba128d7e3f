"""The limits on starting the jobs of a function whose keys have limits of their own, or are held. Pure.

A key's starts are counted where its jobs are taken, in its queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearman_server.jobs.throttle import Throttle

if TYPE_CHECKING:
    from gearman_server.jobs.policies import FunctionPolicy
    from gearman_server.jobs.throttle import RunningCount
    from gearman_server.keys.key_table import KeyTable


class KeyThrottle(Throttle):
    """The limits of the function itself, and besides them those of its keys."""

    __slots__ = ("_has_rule", "_table")

    def __init__(self, table: KeyTable, policy: FunctionPolicy, former: Throttle | None) -> None:
        super().__init__(policy, former)
        self._table = table
        #: Whether the function itself has a limit: most with limits for their keys have none.
        self._has_rule = self.has_rule
        if table.max_running is not None:
            self.counts_ends = True

    @property
    def is_needed(self) -> bool:
        """Whether it holds anything back, now or later."""
        return True

    def admits(self, running: int, now: float) -> bool:
        """Whether one more job may be started besides the running ones."""
        is_free = not self._has_rule and self.paused_since is None and now >= self.held_until
        if not is_free and not super().admits(running, now):
            return False
        table = self._table
        if now >= table.looks_at:
            table.advance()
        return table.startable > 0 or table.sort_until_startable()

    def room(self, running: int, waiting: int, now: float) -> int:
        """How many of the waiting jobs may be started: of those that could be by their keys, counted anew."""
        self._table.advance()
        return super().room(running, self._table.startable, now)

    def note_running(self, key: bytes, began_at: float) -> RunningCount | None:
        """A job with this key runs already: `note_start` follows, but it comes from no queue. Returns the number in
        which it is counted, if that of its key has a limit."""
        return self._table.note_running(key, began_at)

    def forget_start(self, key: bytes, at: float) -> None:
        """A job with this key, which was started at that time, was given back unbegun."""
        super().forget_start(key, at)
        self._table.forget_start(key, at)

    def opens_at(self, running: int, now: float) -> float | None:
        """When the next start is allowed, or more of them; None if nothing but the end of a job changes that."""
        if self.paused_since is not None:
            return None
        return super().opens_at(running, now) or self._table.opens_at
