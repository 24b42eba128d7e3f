"""Finds jobs in the lists of the job servers, which look at some thousand jobs for each page: many pages are empty."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import ManagerError

#: Pages that are asked for on the way to one that has a job.
MOST_LOOKS: Final = 20
#: When so much time has gone by (seconds) no further one is asked for: each is a page of jobs with private data that a
#: job server sends whole, perhaps.
PATIENCE_S = 3.0
#: Waiting jobs of a function that are looked at: those that were submitted first.
_FIRST: Final = 20


def find(jobs: ServerJobs, family: str, conditions: Mapping[str, str]) -> dict[str, Any]:
    """The first page from there on that has jobs, as `ServerJobs.page` gives it: an empty one with a `next` if none of
    those that were looked at is meant. `missing` names all servers on the way that can't be asked.

    Raises:
        ManagerError: as `ServerJobs.page`.
    """
    missing = []
    until = monotonic() + PATIENCE_S
    for _ in range(MOST_LOOKS):
        found = jobs.page(family, conditions)
        missing += [found["missing"]] if "missing" in found else []
        if found["jobs"] or found["next"] is None or monotonic() >= until:
            break
        kept = {name: value for name, value in conditions.items() if name not in ("server", "after")}
        conditions = kept | found["next"]
    return found | {"missing": "; ".join(missing)}


def longest_wait_s(jobs: ServerJobs, function: str) -> float | None:
    """For how long a job of the function waits, the longest of those that were submitted first; None: it is unknown."""
    try:
        found = find(jobs, "jobs", {"function": function, "state": "waiting", "limit": str(_FIRST)})
    except ManagerError:
        return None  # a foreign job server does not know
    return max((row["for_s"] for row in found["jobs"]), default=None)
