"""How the last runs of schedules ended."""

from __future__ import annotations

import sqlite3
from typing import Any

from gearman_manager.finished import table
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.schedule_runs import with_runs
from gearman_manager.privacy import Privacy

from .conftest import SERVER, attempt


def test_the_last_runs_of_schedules_are_found_without_looking_at_all_rows(keeper: Keeper) -> None:
    def runs(number: int, name: str, **changes: Any) -> FinishedAttempt:
        return attempt(number, tags=(f"schedule:{name}", *changes.pop("more", ())), **changes)

    rows = [runs(number, "tick") for number in range(1, 9)]
    rows += [runs(9, "tick", outcome="exception", error="ValueError: x\nmore", follows="retry", handle="H:test:8b")]
    rows += [runs(10, "tick", outcome="exception", error="ValueError: x\nmore", follows="dead")]
    rows += [runs(11, "nightly"), runs(12, "nightly", more=("mine",)), attempt(13, tags=("schedule",)), attempt(14)]
    keeper.keep(rows, SERVER, "r1.14")
    found = with_runs([{"schedule": "tick"}, {"schedule": "nightly"}, {"schedule": "never"}], keeper)
    assert [run["handle"] for run in found[0]["runs"]] == [f"H:test:{number}" for number in (10, 8, 7, 6, 5)]
    assert [run["outcome"] for run in found[0]["runs"][:2]] == ["exception", "complete"]
    assert found[0]["runs"][0]["error"] == "ValueError: x"
    assert [run["handle"] for run in found[1]["runs"]] == ["H:test:11"], "that with another tag is somebody's own"
    assert found[2] == {"schedule": "never", "runs": []}
    seen: list[str] = []

    def explained(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda text: seen.append(text) if "ORDER BY" in text else None)
        table.last_of_schedules(["schedule:tick"], 5, table.Young(0.0, {"f": 0.0}), Privacy(), connection)
        connection.set_trace_callback(None)
        [plan] = [" ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")) for text in seen]
        assert "finished_of_schedules (tags=?)" in plan

    keeper._file.run(explained)
