"""What a change of many jobs makes of them, in words. Light: the command line has the same. Pure."""

from __future__ import annotations

from typing import Final

#: By the last word of the change.
DONE: Final = {
    "cancel": "cancelled",
    "stop": "stopped",
    "retry": "queued again",
    "drop": "forgotten",
    "again": "run again",
}
#: Why jobs are left as they are.
LEFT: Final = {
    "retry": "another job has their unique key now",
    "again": "not all of their workload is kept, something of it or of their unique key is private, they are not over, "
    "or a job that has ended still has their unique key",
}
