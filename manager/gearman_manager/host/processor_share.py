"""How much of a processor a process has used lately, of readings of its processor time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The least time over which a share is taken: whoever looks more often is told the last one again.
WINDOW_S: Final = 5.0


@dataclass(slots=True)
class ProcessorShare:
    """The share of one process. Times are monotonic seconds."""

    _read_at: float | None = None
    _used_s: float = 0.0
    _cores: float = 0.0

    def cores(self, now: float, used_s: float, started_at: float) -> float:
        """The processors that it has kept busy since a reading some seconds ago, or if nobody has looked meanwhile
        since the last one; first since its start. `used_s` is the processor time that it has used so far."""
        since = started_at if self._read_at is None else self._read_at
        if self._read_at is None or now - since >= WINDOW_S:
            self._cores = max(0.0, used_s - self._used_s) / max(now - since, 0.1)
            self._read_at, self._used_s = now, used_s
        return self._cores
