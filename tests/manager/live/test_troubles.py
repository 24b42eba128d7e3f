"""The list of what is wrong."""

from __future__ import annotations

from typing import Any

from gearman_manager.config import Problem
from gearman_manager.live.troubles import troubles
from gearman_manager.supervisor.health import Health

FINE = Health(pools=1, workers=1, busy=0, waiting=[], failing=[], down=[], unheard=[], troubles={}, servers=1)


def pool(name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    rates = {"done_per_minute": None, "failed_per_minute": None}
    return {"name": name, "state": state, "last_error": "", "min": 2, "target": 3, "ready": 2, **rates, **more}


def shown(*found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(each["severity"], each["kind"], each["subject"], each["text"]) for each in found]


def test_nothing_is_wrong() -> None:
    assert troubles(FINE, [pool("mail"), pool("sms", ready=0, min=0), pool("new", ready=0, target=0)], [], {}) == []


def test_the_worst_comes_first_and_each_says_where() -> None:
    health = Health(
        pools=1,
        workers=0,
        busy=0,
        waiting=["slow"],
        failing=["mail"],
        down=["a:1"],
        unheard=["b:2"],
        troubles={"c:3": "the store is full"},
        servers=3,
        drain="draining: 1 job left",
    )
    pools = [
        pool("mail", "failing", last_error="exit status 3"),
        pool("broken", "failing"),
        pool("sms", "backing-off", last_error="signal 9"),
        pool("slow", ready=1),
        pool("off", "paused", ready=0),
    ]
    found = troubles(health, pools, [Problem("m.py", 3, "", "no such name", is_fatal=False)], {"a.log": "disk full"})
    assert shown(*found) == [
        ("critical", "server", "a:1", "the job server does not answer"),
        ("critical", "server", "c:3", "the store is full"),
        ("critical", "pool", "mail", "exit status 3"),
        ("critical", "pool", "broken", "no worker stays alive"),
        ("warning", "server", "b:2", "the job server has not answered yet"),
        ("warning", "pool", "sms", "signal 9"),
        ("warning", "pool", "slow", "1 of 2 workers are there"),
        ("warning", "code", "m.py:3", "no such name"),
        ("warning", "log", "a.log", "disk full"),
        ("note", "pool", "off", "paused by hand"),
        ("note", "drain", "", "draining: 1 job left"),
    ]


def test_a_pool_whose_jobs_fail_often_is_not_well() -> None:
    pools = [
        pool("often", done_per_minute=20.0, failed_per_minute=5.1),
        pool("all", done_per_minute=0.0, failed_per_minute=5.0),
        pool("seldom", done_per_minute=400.0, failed_per_minute=100.0),
        pool("few", done_per_minute=0.0, failed_per_minute=4.9),
    ]
    told = [(found["kind"], found["subject"]) for found in troubles(FINE, pools, [], {})]
    assert told == [("failures", "often"), ("failures", "all")]
