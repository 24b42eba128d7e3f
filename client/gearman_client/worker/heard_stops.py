"""The jobs of one connection that the server wants to be stopped, as far as the worker has heard. No I/O."""

from __future__ import annotations

from time import monotonic
from typing import Final

from gearman_client.extensions import MAX_JOBS_AT_ONCE

#: A running job looks this often whether the server has said something.
_LOOK_S: Final = 0.001


class HeardStops:
    """Their handles."""

    __slots__ = ("_looked_at", "handles")

    def __init__(self) -> None:
        #: To be read only.
        self.handles: dict[bytes, None] = {}
        self._looked_at = 0.0

    def note(self, body: bytes) -> None:
        """JOB_STOPPING has come. Nobody asks for a job whose answer was on its way then, so old ones are forgotten."""
        self.handles[body.rpartition(b"\0")[2]] = None
        if len(self.handles) > MAX_JOBS_AT_ONCE:
            del self.handles[next(iter(self.handles))]

    def has(self, handle: bytes) -> bool:
        """Whether this job is one of them."""
        return handle in self.handles

    def answered(self, handle: bytes) -> None:
        """The job is over."""
        if self.handles:
            self.handles.pop(handle, None)

    def clear(self) -> None:
        """The connection is lost, and with it all jobs."""
        self.handles.clear()

    def is_look_due(self) -> bool:
        """Whether what has arrived is to be looked at; the next look is due later then."""
        now = monotonic()
        if now < self._looked_at + _LOOK_S:
            return False
        self._looked_at = now
        return True
