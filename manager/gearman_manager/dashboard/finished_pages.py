"""Finished jobs: among the jobs, in a list of their own, and the timeline and the page of a job that is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from flask import request
from flask.typing import ResponseReturnValue

from gearman_manager.api.pages import cursor_before, id_before
from gearman_manager.dashboard.forms import address_of
from gearman_manager.dashboard.job_search import WITHIN_S, check_search
from gearman_manager.dashboard.rendering import SELDOM_S, page
from gearman_manager.errors import ManagerError, NotNow
from gearman_manager.finished.collector import Collector
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.obstacles import obstacle, obstacle_of_job
from gearman_manager.finished.outcomes import ENDS
from gearman_manager.finished.search import Wanted
from gearman_manager.finished.told import told, told_in_list
from gearman_manager.history.history_file import HistoryError

#: The state that means all of them.
FINISHED: Final = "finished"
END_STATES: Final = (FINISHED, *ENDS)
#: What they are found by in every state.
_SHARED: Final = ("function", "tag", "unique", "text", "within")
_ROWS: Final = 50
#: Those that the list of waiting and running jobs shows below them.
_FEW: Final = 10


class Few(NamedTuple):
    """Some of them."""

    rows: list[dict[str, Any]]
    #: Why they could not be looked for; empty: they were, or none are kept.
    trouble: str


@dataclass(frozen=True, slots=True)
class FinishedPages:
    """What pages show of finished jobs."""

    keeper: Keeper
    collector: Collector

    def listed(self, chosen: Mapping[str, str]) -> ResponseReturnValue:
        """The page with a list of them.

        Raises:
            ManagerError: there is no such state or time, or the file can't be read.
        """
        cursor, trouble, mark, rows = request.args.get("cursor") or None, "", 0, []
        try:
            mark = self.keeper.mark()
            rows = self.keeper.page(wanted_finished(chosen), _ROWS, id_before(cursor))
        except NotNow as error:
            trouble = str(error)
        following = cursor_before(rows, _ROWS)
        return page(
            "finished.html",
            every=0 if cursor else SELDOM_S,
            rows=[{**told_in_list(row), "can_run": obstacle(row) is None} for row in rows],
            trouble=trouble,
            missed=self.collector.missed,
            chosen=chosen,
            is_first=cursor is None,
            next=following and address_of("jobs_listed", {**chosen, "cursor": following}),
            first=address_of("jobs_listed", chosen),
            every_one=address_of("every_finished", {**chosen, "mark": str(mark)}),
        )

    def few(self, chosen: Mapping[str, str]) -> Few:
        """The last of those that meet the conditions, for the list of jobs that wait and run."""
        if chosen.keys() - {*_SHARED} or request.args.get("cursor"):
            return Few([], "")  # they have no key, and no other state
        try:
            return Few([told_in_list(row) for row in self.keeper.page(wanted_finished(chosen), _FEW, None)], "")
        except NotNow:
            return Few([], "")  # none are kept
        except HistoryError as error:
            return Few([], str(error))

    def timeline(self, handle: str) -> list[dict[str, Any]]:
        """The ends of a job's attempts, the first one first, as far as they are kept."""
        return [told(row) for row in self._attempts(handle)]

    def _attempts(self, handle: str) -> list[dict[str, Any]]:
        try:
            return self.keeper.attempts_of(handle)
        except HistoryError:
            return []

    def job(self, handle: str, lines: list[str]) -> ResponseReturnValue | None:
        """The page of a job that is over and gone from its server; None: nothing is kept of it."""
        rows = self._attempts(handle)
        if not rows:
            return None
        attempts = [told(row) for row in rows]
        return page(
            "finished_job.html",
            job=attempts[-1],
            attempts=attempts,
            lines=lines,
            obstacle=obstacle_of_job(rows),
            is_whole=any(row["is_whole"] for row in rows),
        )


def wants_finished(given: Mapping[str, str]) -> dict[str, str] | None:
    """The conditions of a query that means finished jobs by its state; None: it means others too, or none.

    Raises:
        ManagerError: they are not found by one of the conditions.
    """
    if given.get("state") not in END_STATES:
        return None
    chosen = {name: value for name in ("state", *_SHARED) if (value := given.get(name, "").strip())}
    check_search(chosen)
    if given.get("key", "").strip():
        raise ManagerError("key: of finished jobs the manager keeps none; choose another state, or no key")
    return chosen


def wanted_finished(chosen: Mapping[str, str]) -> Wanted:
    """What these conditions of a query mean."""
    state, within = chosen.get("state", FINISHED), chosen.get("within")
    return Wanted(
        unique=chosen.get("unique"),
        function=chosen.get("function"),
        tag=chosen.get("tag"),
        text=chosen.get("text"),
        outcome=None if state == FINISHED else state,
        since=None if within is None else time.time() - WITHIN_S[within],
    )
