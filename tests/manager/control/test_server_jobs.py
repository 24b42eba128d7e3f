"""Rows of the job servers as they are shown, and what a server that refuses, or is ours no more, is reported as."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import gevent
import pytest

from gearman_client import Address
from gearman_manager.control import turns
from gearman_manager.control.server_jobs import ServerJobs, shown_rows
from gearman_manager.errors import NotNow, Unreachable
from gearman_manager.privacy import MARK, FunctionPrivacy, Privacy

from ...server.server_process import ServerProcess


def test_others_have_their_turn_between_the_rows_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    privacy = Privacy()
    privacy.use({}, FunctionPrivacy(("password",)))
    seen: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(3):
            gevent.spawn(seen.append, number)
            yield {"function": "f", "preview": "password=x", "bytes": 10, "error": f"{seen}"}

    shown = shown_rows(rows(), privacy)
    assert [row["preview"] for row in shown] == [f"password={MARK}"] * 3
    assert [row["error"] for row in shown] == ["[]", "[0]", "[0, 1]"]


@pytest.mark.parametrize(
    ("name", "rules", "told"),
    [
        ("x" * 100, FunctionPrivacy(("password",)), MARK),
        ("x" * 100, FunctionPrivacy(("password",), cleans_errors=True), "no user hunter2 here"),
        ("x", FunctionPrivacy(("password",)), f"no user {MARK} here"),
        ("x" * 100, FunctionPrivacy(), "no user hunter2 here"),
    ],
)
def test_an_error_in_a_list_is_told_if_the_list_has_its_whole_workload_or_its_worker_has_redacted_it(
    name: str, rules: FunctionPrivacy, told: str
) -> None:
    workload = f'{{"name": "{name}", "password": "hunter2"}}'
    privacy = Privacy()
    privacy.use({}, rules)
    row = {"function": "f", "preview": workload[:64], "bytes": len(workload), "error": "no user hunter2 here"}
    assert [shown["error"] for shown in shown_rows([row], privacy)] == [told]


def test_a_schedule_whose_change_is_refused_is_a_problem_with_the_name_of_the_server() -> None:
    server = ServerProcess("-L", "127.0.0.1", "--admin-allow", "192.0.2.1")
    try:
        jobs = ServerJobs(lambda: [Address("127.0.0.1", server.port)])
        says = f"the job server {server.address} says: NOT_ALLOWED Not from this address"
        for refused in (jobs.trigger, jobs.pause_schedule, partial(jobs.pause_schedule, is_end=True)):
            with pytest.raises(NotNow, match=re.escape(says)):
                refused("nightly")
    finally:
        server.stop()


def test_a_server_that_has_left_since_it_was_listed_is_named() -> None:
    listed = [[Address("192.0.2.1", 4730)]]
    jobs = ServerJobs(lambda: listed.pop() if listed else [])
    with pytest.raises(Unreachable, match=r"^192\.0\.2\.1:4730 is no job server of ours any more$"):
        jobs.show("jobs", "H:1")
