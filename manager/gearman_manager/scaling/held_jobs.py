"""Tells startable jobs from delayed ones on job servers that count both as waiting. Pure.

gearmand's `status` counts jobs whose time has not come. Its workers tell them apart: a job that waits while a worker of
the pool has nothing to do can't be started yet. So while a worker rests no further one is started. When no worker rests
any longer, a part of these jobs may have become due: then the pool at most doubles its workers, because the next ones
show whether they find a job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

#: A worker without a job for this long has found none: from a job's arrival to its start are milliseconds.
REST_S: Final = 0.1
#: Jobs that wait for this long beside a resting worker are held back.
PROOF_S: Final = 0.5


class HeldJobs:
    """The memory of one pool."""

    def __init__(self) -> None:
        #: The jobs that were seen to wait although a worker had nothing to do.
        self.held = 0
        self.is_resting = False  #: whether a worker has nothing to do, or a new one has yet to look
        self.next_change: float | None = None  #: when to call `look` again if nothing else happens
        self._rests: dict[str, tuple[int, float]] = {}  # by idle worker: its finished jobs, and since when it rests
        self._window: deque[tuple[float, int]] = deque()  # the waiting jobs beside a resting worker, by time

    def look(self, now: float, doubtful: int, idle: Mapping[str, int]) -> None:
        """Take in the jobs that wait on such servers, and the finished jobs of each worker that has none now."""
        self._note_rests(now, idle)
        self.held = min(self.held, doubtful)
        self.next_change = None
        if not doubtful or not self._has_rested(now):
            self._window.clear()
            if doubtful and self._rests:
                self.next_change = min(since for _, since in self._rests.values()) + REST_S
            return
        self._window.append((now, doubtful))
        while len(self._window) > 1 and self._window[1][0] <= now - PROOF_S:
            self._window.popleft()
        if self._window[0][0] <= now - PROOF_S:
            self.held = max(self.held, min(count for _, count in self._window))
        if self.held < doubtful:
            self.next_change = now + PROOF_S

    def startable(self, doubtful: int) -> int:
        """The waiting jobs for which workers are wanted. One at least: somebody has to be there when they are due."""
        surely = 0 if self.is_resting else doubtful - self.held
        return max(surely, min(1, doubtful))

    def _note_rests(self, now: float, idle: Mapping[str, int]) -> None:
        before, self._rests = self._rests, {}
        for name, finished in idle.items():
            known = before.get(name)
            self._rests[name] = known if known is not None and known[0] == finished else (finished, now)
        self.is_resting = self._has_rested(now) or any(finished == 0 for finished, _ in self._rests.values())

    def _has_rested(self, now: float) -> bool:
        return any(now >= since + REST_S for _, since in self._rests.values())
