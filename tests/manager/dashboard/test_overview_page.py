"""The first page of a manager with many pools and workers: its size, and what stands first."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gearman_manager.access.caller import CALLER, Caller, Kind, Role
from gearman_manager.access.guards import guard
from gearman_manager.control.app import make_app
from gearman_manager.dashboard import site
from gearman_manager.dashboard.rendering import AGE_HEADER, PART_HEADER
from gearman_manager.dashboard.site import Sources, dashboard_routes
from gearman_manager.series.columns import function_columns, pool_columns
from gearman_manager.series.figures import FUNCTION, POOL

#: Of a page that many look at, on the wire, with what it loads.
MOST_BYTES = 150_000
LOADED = Path(site.__file__).parent / "static"


class Reader:
    """Somebody who looks at the pages of a manager that has this overview."""

    def __init__(self, overview: dict[str, Any]) -> None:
        app: Flask = make_app()
        guard(app)
        none = SimpleNamespace(cancel=None, stop=None, are_any=False)
        others = cast(Any, dict.fromkeys(Sources.__dataclass_fields__, none))
        reports = SimpleNamespace(of_all=lambda wished: chart_report(wished.times(time.time())))
        told = {"name": "m", "overview": lambda: overview, "reports": reports}
        app.register_blueprint(dashboard_routes(Sources(**others | told)))
        self._client: FlaskClient = app.test_client()

    def get(
        self, role: Role = Role.OPERATOR, csrf: str = "token-of-alice", *, path: str = "/", part: bool = False
    ) -> Any:
        caller = Caller(Kind.USER, "alice", role, "127.0.0.1", csrf=csrf, session="s")
        return self._client.get(path, environ_overrides={CALLER: caller}, headers={PART_HEADER: "1"} if part else {})


def chart_report(times: range) -> dict[str, Any]:
    """The report of busy pools, whose figures are never the same."""
    pools, functions = (
        [{place: (at // 60 + place) * 7919 % 997 for place in range(len(of.names))} for at in times]
        for of in (POOL, FUNCTION)
    )
    figures = function_columns(functions, [6] * len(times), 10) | pool_columns(pools, 10)
    marks = [{"at": at, "kind": "crash", "subject": "", "text": "2 workers ended unexpectedly"} for at in times]
    return {"times": [*times], "figures": figures, "marks": marks, "counted": True}


def overview(pools: int, workers: int) -> dict[str, Any]:
    now = time.time()
    return {
        "at": now,
        "manager": {"name": "m", "pid": 1, "since": now},
        "well": True,
        "text": "all of them",
        "troubles": [],
        "servers": [],
        "pools": [pool(f"pool-{number:03}", workers) for number in range(pools)],
    }


def pool(name: str, workers: int) -> dict[str, Any]:
    counts = dict.fromkeys(("min", "max", "busy", "waiting", "running", "queued", "done", "failed", "memory_bytes"), 1)
    rates = {"done_per_minute": 1234.5, "failed_per_minute": 0.1}
    known = {"name": name, "state": "running", "functions": ["send_email"], "held": [], "last_error": ""}
    sizes = {"target": workers, "ready": workers, "wanted": 0}
    why = "0 wanted by 2 s of waiting, 5 had: min 5 holds since 21:34:08"
    return counts | rates | known | sizes | {"why": why, "workers": [worker(f"{name}/{n}") for n in range(workers)]}


def worker(name: str) -> dict[str, Any]:
    doing = {"state": "busy", "function": "send_email", "since": time.time(), "jobs": 1}
    return doing | {"name": name, "pid": 7, "memory_bytes": 14_000_000, "cpu_cores": 0.234, "started": time.time()}


@pytest.mark.parametrize(("pools", "workers"), [(200, 5), (1, 1000), (20, 50)])
def test_the_first_page_is_small_however_much_there_is(pools: int, workers: int) -> None:
    page = Reader(overview(pools, workers)).get().get_data(as_text=True)
    assert "<small>14 MB, CPU 23 %</small>" in page
    loaded = sum(file.stat().st_size for file in LOADED.iterdir())
    assert len(page.encode()) + loaded < MOST_BYTES
    shown = set(re.findall(r'"/pools/(pool-\d+)"', page))
    assert shown == {f"pool-{number:03}" for number in range(pools)}


def test_every_worker_is_on_one_of_the_pages_of_workers() -> None:
    reader, found, path, pages = Reader(overview(3, 150)), [], "/workers", 0
    while path:
        page = reader.get(path=path).text
        pages += 1
        found += re.findall(r'href="/workers/(pool-\d+/\d+)"', page)
        path = next(iter(re.findall(r'<a href="([^"]+)">Next page', page)), "")
    assert pages == 3
    assert "401 to 450 of 450" in page
    assert found == [f"pool-{pool:03}/{number}" for pool in range(3) for number in range(150)]


def test_pools_that_need_a_look_stand_first() -> None:
    report = overview(100, 1)
    report["pools"][70]["state"] = "paused"
    report["pools"][80] |= {"state": "failing", "last_error": "it died"}
    for each in report["pools"][:60]:
        each["queued"] = 0
    report["pools"][60]["waiting"] = 3
    page = Reader(report).get().get_data(as_text=True)
    names = re.findall(r'<h2><a href="/pools/(pool-\d+)"', page)
    assert names[:4] == ["pool-080", "pool-070", "pool-060", "pool-061"]
    assert "80 more pools" in page
    assert "<dt>waiting</dt><dd>3 <small>2 delayed or held</small></dd>" in page


def test_a_shared_part_has_each_readers_own_token_and_forms() -> None:
    reader = Reader(overview(2, 1))
    alices, bobs = (reader.get(csrf=f"token-of-{name}", part=True) for name in ("alice", "bob"))
    assert "token-of-alice" in alices.get_data(as_text=True)
    assert bobs.get_data(as_text=True) == alices.get_data(as_text=True).replace("token-of-alice", "token-of-bob")
    assert alices.get_etag() != bobs.get_etag()
    assert int(alices.headers[AGE_HEADER]) >= 200
    viewers = reader.get(Role.VIEWER, part=True).get_data(as_text=True)
    assert "<form" not in viewers
    assert "pool-001" in viewers


def test_hostile_names_of_pools_are_texts() -> None:
    report = overview(60, 1)
    for each in report["pools"]:
        each["name"] = f"<script>\u202e{each['name']}"
    page = Reader(report).get().get_data(as_text=True)
    assert page.count("<script") == 1
    assert "\u202e" not in page


def test_the_page_of_failures_is_named_where_a_pool_fails_often() -> None:
    trouble = {"severity": "warning", "kind": "failures", "subject": "mail", "text": "many of its jobs failed"}
    content = Reader(overview(1, 1) | {"well": False, "troubles": [trouble]}).get().text
    assert '<a href="/pools/mail">pool <bdi>mail</bdi></a>:' in content
    assert '<a href="/failures">see the failures</a></li>' in content
