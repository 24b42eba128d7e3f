"""How the last runs of schedules ended: their jobs have a tag that names the schedule, and no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gearman_manager.errors import NotNow
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.table import SCHEDULE_TAG
from gearman_manager.finished.told import told_in_list
from gearman_manager.history.history_file import HistoryError

#: The runs that are told of each schedule.
MOST_RUNS: Final = 5
_NAMES: Final = ("handle", "outcome", "started", "ended", "error")


def with_runs(schedules: Iterable[Mapping[str, Any]], keeper: Keeper) -> list[dict[str, Any]]:
    """The schedules, each with its last `runs` that are over, the newest first, as far as they are kept."""
    rows = list(schedules)
    try:
        runs = keeper.last_of_schedules((SCHEDULE_TAG + row["schedule"] for row in rows), MOST_RUNS)
    except (NotNow, HistoryError):
        runs = {}
    return [{**row, "runs": [_run(run) for run in runs.get(SCHEDULE_TAG + row["schedule"], ())]} for row in rows]


def _run(row: Mapping[str, Any]) -> dict[str, Any]:
    made = told_in_list(row)
    return {name: made[name] for name in _NAMES}
