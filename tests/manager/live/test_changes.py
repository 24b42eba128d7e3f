"""What differs between two overviews, as events."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gearman_manager.live.changes import changes, figures

WORKER = {
    "name": "mail/1",
    "pid": 7,
    "state": "idle",
    "function": None,
    "done": 3,
    "failed": 0,
    "memory_bytes": 5,
    "cpu_s": 1.0,
    "cpu_cores": 0.5,
}
POOL = {
    "name": "mail",
    "state": "running",
    "target": 1,
    "wanted": 1,
    "limit": None,
    "why": "1 wanted",
    "decided": 5.0,
    "queued": 0,
    "done": 3,
    "failed": 0,
    "done_per_minute": 6.0,
    "failed_per_minute": 0.0,
    "memory_bytes": 5,
    "workers": [WORKER],
}
OVERVIEW: dict[str, Any] = {"well": True, "text": "fine", "troubles": [], "servers": [], "pools": [POOL]}


@pytest.fixture
def now() -> Any:
    return copy.deepcopy(OVERVIEW)


def events(now: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(changes(OVERVIEW, now))


def test_nothing_has_changed(now: Any) -> None:
    now["text"] = "fine, too"
    now["pools"][0] |= {"decided": 6.0, "why": "1 wanted still", "memory_bytes": 6, "done": 4, "done_per_minute": 7.0}
    now["pools"][0]["workers"][0] |= {"memory_bytes": 6, "cpu_s": 2.0, "cpu_cores": 0.6, "done": 4}
    assert events(now) == []
    told = {"done": 4, "failed": 0, "done_per_minute": 7.0, "failed_per_minute": 0.0, "memory_bytes": 6}
    assert figures(now) == {"pools": {"mail": told}}


def test_a_worker_that_has_another_state_is_told_with_its_figures(now: Any) -> None:
    worker = now["pools"][0]["workers"][0]
    worker |= {"state": "busy", "function": "send", "memory_bytes": 9}
    assert events(now) == [("workers", {"pool": "mail", "changed": [worker], "gone": []})]


def test_a_worker_that_comes_and_one_that_goes_are_told(now: Any) -> None:
    other = {**WORKER, "name": "mail/2"}
    now["pools"][0]["workers"] = [other]
    assert events(now) == [("workers", {"pool": "mail", "changed": [other], "gone": ["mail/1"]})]


def test_a_pool_is_told_without_its_workers_and_another_size_with_its_reason(now: Any) -> None:
    now["pools"][0] |= {"target": 3, "wanted": 4, "limit": "max", "why": "max 3 holds", "decided": 9.0, "queued": 8}
    (kind, pool), decision = events(now)
    assert (kind, pool) == ("pool", {name: value for name, value in now["pools"][0].items() if name != "workers"})
    assert decision == (
        "decision",
        {"pool": "mail", "at": 9.0, "why": "max 3 holds", "limit": "max", "wanted": 4, "target": 3},
    )


def test_new_pools_gone_ones_servers_and_troubles_are_told(now: Any) -> None:
    trouble = {"severity": "critical", "kind": "server", "subject": "a:1", "text": "the job server does not answer"}
    now |= {"well": False, "troubles": [trouble], "servers": [{"address": "a:1"}]}
    now["pools"] = [{**POOL, "name": "sms", "workers": []}]
    assert [(kind, content.get("name")) for kind, content in events(now)] == [
        ("troubles", None),
        ("servers", None),
        ("pool", "sms"),
        ("pool-gone", "mail"),
    ]
