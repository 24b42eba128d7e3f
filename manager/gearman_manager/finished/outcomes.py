"""How attempts end. Light: the command line knows the words too. Pure."""

from __future__ import annotations

from typing import Final

#: Those with which a job can end, in the job server's words.
ENDS: Final = ("complete", "failed", "exception", "timeout", "lost", "stopped", "cancelled", "expired", "dropped")
#: And those that another attempt always follows.
OUTCOMES: Final = (*ENDS, "returned", "throttled")
FAILURES: Final = frozenset({"failed", "exception", "timeout", "lost", "expired"})
