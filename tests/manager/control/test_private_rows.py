"""What job servers tell of a job, without what is private."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearman_manager.control.private_rows import shown_row
from gearman_manager.privacy import MARK, FunctionPrivacy

WORKLOAD = json.dumps({"user": "bob", "password": "s3cret"})
REDACTS = FunctionPrivacy(redact=("password",))


def row(data: str) -> dict[str, Any]:
    return {"function": "f", "workload": WORKLOAD, "bytes": len(WORKLOAD), "data": data}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ('{"done": 3, "password": "other"}', f'{{"done": 3, "password": "{MARK}"}}'),
        ('{"done": 3, "said": "s3cret"}', f'{{"done": 3, "said": "{MARK}"}}'),
        ("s3cret", MARK),  # no keys can be told apart in it
        ('{"done": 3}', '{"done": 3}'),
        ("", ""),
    ],
)
def test_the_data_that_a_job_has_sent_is_shown_as_a_result_is(data: str, shown: str) -> None:
    assert shown_row(row(data), REDACTS)["data"] == shown
    assert shown_row(row(data), FunctionPrivacy())["data"] == data


def test_nothing_is_shown_of_the_data_of_functions_whose_workloads_are_private() -> None:
    assert shown_row(row('{"done": 3}'), FunctionPrivacy(shows_workloads=False))["data"] == MARK
