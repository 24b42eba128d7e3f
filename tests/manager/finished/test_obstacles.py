"""Why a finished job can't be run again: one answer, for a row, for a job, and for the count."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.obstacles import Obstacle, obstacle, obstacle_of_job
from gearman_manager.finished.search import Wanted
from gearman_manager.privacy import MARK, FunctionPrivacy

from .conftest import SERVER, attempt

CASES: list[tuple[dict[str, Any], Obstacle | None]] = [
    ({}, None),
    ({"workload": "", "workload_bytes": 0}, None),
    ({"unique": "[redacted", "workload": MARK}, None),  # its workload is that text
    ({"follows": "dead"}, None),
    ({"follows": "retry"}, Obstacle.NOT_OVER),
    ({"is_whole": False}, Obstacle.CUT),
    ({"is_whole": False, "workload": "", "workload_bytes": 5}, Obstacle.PRIVATE_WORKLOAD),
    ({"is_whole": False, "workload": f'{{"password": "{MARK}"}}'}, Obstacle.PRIVATE_WORKLOAD),
    ({"unique": f"password={MARK}"}, Obstacle.PRIVATE_UNIQUE),
    ({"unique": "caf\ufffd"}, Obstacle.NO_TEXT),
    ({"function": "caf\ufffd"}, Obstacle.NO_TEXT),
]
CHANGES: list[dict[str, Any]] = [{}, {"is_whole": False}, {"follows": "retry"}]


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_an_end_says_why(changes: dict[str, Any], expected: Obstacle | None) -> None:
    assert obstacle(asdict(attempt(**changes))) is expected


def test_of_a_job_any_end_will_do_once_it_is_over() -> None:
    whole, cut, retried = (asdict(attempt(**each)) for each in CHANGES)
    for ends, expected in (
        ([whole, cut], None),
        ([cut, whole], None),
        ([retried, cut], Obstacle.CUT),
        ([whole, retried], Obstacle.NOT_OVER),
    ):
        assert obstacle_of_job(ends) is expected


def test_they_are_counted_by_the_rules_of_now(keeper: Keeper) -> None:
    form = '{"user": "ann"}'
    ends = [
        attempt(1, workload=form),
        attempt(2, function="login", workload='{"password": "x"}'),
        attempt(3, function="login", workload=form, unique="password=hunter2"),
        attempt(4, function="login", workload=form, unique="ann"),
        attempt(5, unique=MARK),
        attempt(6, function="caf\ufffd"),
        attempt(7, is_whole=False),
    ]
    keeper.keep(ends, SERVER, "r1.7")
    assert keeper.count(Wanted(), keeper.mark()) == (7, 4)
    keeper.privacy.use({"login": FunctionPrivacy(("password",))}, FunctionPrivacy())
    assert keeper.count(Wanted(), keeper.mark()) == (7, 2)
    rows = keeper.page(Wanted(), 10, None)
    assert [row["number"] for row in rows if obstacle(row) is None] == [4, 1]
