"""How attempts end. Light: the command line knows the words too. Pure."""

from __future__ import annotations

from typing import Final

#: In the job server's words.
OUTCOMES: Final = (
    *("complete", "failed", "exception", "timeout", "lost", "stopped", "cancelled", "expired", "dropped"),
    *("returned", "throttled"),
)
FAILURES: Final = frozenset({"failed", "exception", "timeout", "lost", "expired"})
