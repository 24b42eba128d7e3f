"""The control API's routes and the objects that they call, without a socket."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import gevent.event
import pytest
from flask.testing import FlaskClient

from gearman_manager.api.document import serve_api
from gearman_manager.api.drain_routes import drain_routes
from gearman_manager.api.manager_routes import manager_routes
from gearman_manager.api.pool_routes import pool_routes
from gearman_manager.command.explain import explanation
from gearman_manager.command.words import left_of
from gearman_manager.config import Config, FoundFunction, lay_out
from gearman_manager.control.app import make_app
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.control.problems import PROBLEM_PAGE
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.scaling.decision import Inputs, Limit, Reckoning
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.recent_decisions import RecentDecisions

CONFIG = Config.model_validate(
    {
        "server": {},
        "limits": {"budgets": {"smtp": 9}},
        "pools": {"mail": {"max": 3, "uses": {"smtp": 2}, "max_everywhere": 6}},
    }
)


class Manager:
    """A manager with one pool, which only notes requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_healthy = True
        self.within: list[float | None] = []
        self.may_begin: list[str] = []
        self.pool = Pool("mail")
        self.pool.arrange("1")
        self.awake = gevent.event.Event()
        workforce: Any = SimpleNamespace(active=[self.pool])
        self.decisions = RecentDecisions()
        autoscaler: Any = SimpleNamespace(arrange=lambda *_: None, decisions=lambda _: self.decisions)
        self.sizes = PoolSizes(autoscaler, HostGuards(CONFIG.limits, cast(Any, None)), self.awake.set)
        self.sizes.arrange(lay_out(CONFIG, [FoundFunction("mail", "m.py", 1, {})], 1), CONFIG.limits)
        self.awake.clear()
        app = make_app()
        self.drain_of = SimpleNamespace(report=lambda: {"running": 1} if self.within else None)
        changes = OperatorChanges(workforce, self.sizes, self.awake.set)
        serve_api(
            app,
            manager_routes(self, cast(Any, self), RecentLog()),
            drain_routes(self, cast(Any, self.drain_of)),
            pool_routes(changes, Explanations(workforce, autoscaler)),
        )
        self.client: FlaskClient = app.test_client()

    def stop(self) -> None:
        self.asked.append("stop")

    def reload(self) -> None:
        self.asked.append("reload")

    def drain(self, within_s: float | None) -> None:
        self.within.append(within_s)

    def settle(self, _patience_s: float) -> list[str]:
        return self.may_begin

    def health(self) -> Any:
        return SimpleNamespace(is_healthy=self.is_healthy, text="2 workers in 1 pool, 0 busy")

    def report(self) -> dict[str, Any]:
        return {"pools": {"mail": {}}}

    @property
    def pool_names(self) -> list[str]:
        return ["mail"]


@pytest.fixture
def manager() -> Manager:
    return Manager()


def test_health_is_an_error_while_not_all_is_well(manager: Manager) -> None:
    answer = manager.client.get("/api/v1/health")
    assert (answer.status_code, answer.get_json()) == (200, {"health": "2 workers in 1 pool, 0 busy"})
    manager.is_healthy = False
    answer = manager.client.get("/api/v1/health")
    assert (answer.status_code, answer.get_json()["detail"]) == (503, "2 workers in 1 pool, 0 busy")


def test_stop_and_reload_reach_the_supervisor(manager: Manager) -> None:
    assert manager.client.post("/api/v1/stop").status_code == 202
    assert manager.client.post("/api/v1/reload").get_json() == {"reloading": True}
    assert manager.asked == ["stop", "reload"]


def test_a_drain_has_its_time_from_the_body_or_none_and_says_who_may_still_begin_a_job(manager: Manager) -> None:
    assert manager.client.get("/api/v1/drain").status_code == 404
    assert manager.client.post("/api/v1/drain").status_code == 200
    manager.may_begin = ["mail/1"]
    assert manager.client.post("/api/v1/drain", json={"within": "2m"}).status_code == 202
    assert manager.within == [None, 120.0]
    assert manager.client.get("/api/v1/drain").get_json() == {"running": 1}


def test_pause_and_resume_reach_the_pool(manager: Manager) -> None:
    assert manager.client.post("/api/v1/pools/mail/pause").get_json() == {"paused": True}
    assert manager.pool.state is PoolState.PAUSED
    assert manager.awake.is_set()
    assert manager.client.post("/api/v1/pools/mail/resume").get_json() == {"paused": False}
    assert manager.pool.state is PoolState.RUNNING


def test_a_restart_marks_the_workers_as_worn(manager: Manager) -> None:
    worker = manager.pool.new_worker(0.0)
    assert manager.client.post("/api/v1/restart?pool=mail").status_code == 202
    assert worker.is_worn
    assert manager.client.post("/api/v1/restart").status_code == 202


def test_a_new_size_reaches_the_pool_sizes(manager: Manager) -> None:
    assert manager.client.post("/api/v1/pools/mail/scale", json={"min": 2, "max": 5}).get_json() == {"min": 2, "max": 5}
    assert (manager.sizes.current["mail"].min, manager.sizes.current["mail"].max) == (2, 5)
    assert manager.awake.is_set()


def test_before_the_first_decision_there_is_nothing_to_explain(manager: Manager) -> None:
    answer = manager.client.get("/api/v1/pools/mail/decisions").get_json()
    assert answer == {"pool": "mail", "now": None, "decisions": []}
    assert explanation(answer, 10) == ["mail: no decision yet"]


def test_decisions_are_told_with_their_limits_and_numbers(manager: Manager) -> None:
    now = time.monotonic()
    for ago_s, queued in ((60.0, 0), (2.0, 30), (0.0, 40)):
        reckoning = Reckoning(queued // 5, "2 s of waiting")
        if queued:
            reckoning.to(3, Limit("max", "max 3 holds"))
        inputs = Inputs(queued=queued, service_s=0.25, workers=1, minimum=0, maximum=3, max_workers=9, away=("a:1",))
        inputs = replace(
            inputs, uses=manager.sizes.arranged["mail"].uses, budgets=manager.sizes.budgets, max_everywhere=6
        )
        manager.decisions.record(reckoning.decision(now - ago_s, inputs))
    answer = manager.client.get("/api/v1/pools/mail/decisions").get_json()
    assert [(entry["size"], entry["limit"], entry["times"]) for entry in answer["decisions"]] == [
        (0, None, 1),
        (3, "max", 2),
    ]
    since, now_told = answer["decisions"][1]["since"], answer["now"]
    assert since == pytest.approx(time.time() - 2.0, abs=1.0)
    assert now_told["at"] == pytest.approx(since + 2.0, abs=0.01)
    assert [entry["until"] for entry in answer["decisions"]] == [pytest.approx(since, abs=0.01), None]
    assert now_told["steps"] == [{"limit": "max", "text": "max 3 holds", "size": 3, "since": since, "until": None}]
    assert now_told["inputs"]["queued"] == 40
    assert now_told["sentence"].startswith("8 wanted by 2 s of waiting, 3 had: max 3 holds since ")
    lines = explanation(answer, 1)
    assert [line for line in lines if line.startswith("  ")] == [
        "  " + answer["decisions"][1]["sentence"],
        "    30 queued, 0 running; a job takes 0.25 s; 1 worker of 0..3; limits.max_workers 9; a worker "
        "uses 2 of 9 smtp; max_everywhere 6; away: a:1",
        "    6 wanted → 3 (max)",
        "  " + now_told["sentence"],
        "    40 queued, 0 running; a job takes 0.25 s; 1 worker of 0..3; limits.max_workers 9; a worker "
        "uses 2 of 9 smtp; max_everywhere 6; away: a:1",
        "    8 wanted → 3 (max)",
    ]


@pytest.mark.parametrize(
    ("running", "programs", "until", "text"),
    [
        (1, 0, None, "1 job still runs"),
        (0, 2, None, "0 jobs and 2 programs still run"),
        (
            2,
            1,
            time.mktime((2020, 1, 2, 3, 4, 5, 0, 0, -1)),
            "2 jobs and 1 program still run, until 2020-01-02 03:04:05",
        ),
    ],
)
def test_what_is_left_of_a_drain_is_told_in_a_line(running: int, programs: int, until: float | None, text: str) -> None:
    assert left_of({"running": running, "programs": programs, "until": until, "server": None}) == text


def test_the_jobs_of_others_are_what_is_left_in_the_end() -> None:
    drain = {"running": 0, "programs": 0, "until": None, "server": {"finishing": True, "instances": 1}}
    assert left_of(drain) == "the job server finishes the jobs of other workers"
    assert left_of(drain | {"server": {"finishing": True, "instances": 2}}) == (
        "the job servers finish the jobs of other workers"
    )


def test_the_decisions_of_an_unknown_pool_are_refused(manager: Manager) -> None:
    answer = manager.client.get("/api/v1/pools/nobody/decisions")
    assert (answer.status_code, answer.get_json()["detail"]) == (404, "there is no pool nobody; the pools are: mail")


def test_a_min_that_a_budget_is_too_small_for_is_refused(manager: Manager) -> None:
    answer = manager.client.post("/api/v1/pools/mail/scale", json={"min": 5, "max": 9})
    why = "limits.budgets.smtp: 9 is less than the min workers of all pools use, 10 (mail: 5 of 2 each)"
    assert answer.get_json()["detail"].startswith(why)
    assert manager.client.post("/api/v1/pools/mail/scale", json={"min": 4, "max": 9}).status_code == 202


def test_a_min_above_the_maximum_over_all_managers_is_refused(manager: Manager) -> None:
    answer = manager.client.post("/api/v1/pools/mail/scale", json={"min": 7, "max": 9})
    why = "pools.mail.max_everywhere: 6 is less than the min of pool mail, 7: raise it"
    assert (answer.status_code, answer.get_json()["detail"]) == (400, why)


@pytest.mark.parametrize("size", [(5, 2), (-1, 2), (0, 0)])
def test_an_invalid_size_is_refused(manager: Manager, size: tuple[int, int]) -> None:
    answer = manager.client.post("/api/v1/pools/mail/scale", json={"min": size[0], "max": size[1]})
    assert answer.status_code == 400
    assert manager.sizes.current["mail"].max == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/pools/nobody/pause", None, 404, "there is no pool nobody; the pools are: mail"),
        ("/pools/mail/scale", {"min": True, "max": 2}, 400, "not True and 2"),
        ("/pools/mail/pause?pool=x", None, 400, "pool: there is no such condition; this takes none"),
        ("/restart?pool=a&pool=b", None, 400, "pool: it is there 2 times"),
        ("/restart?pool=", None, 400, "pool: text is expected"),
        ("/pools/mail/scale", {"min": 1}, 400, "min and max, two whole numbers"),
        ("/pools/mail/scale", {"min": 1, "max": 2, "mx": 3}, 400, "mx: there is no such key"),
        ("/pools/mail/scale", [1, 2], 400, "a JSON object is expected"),
        ("/pools/mail/scale", {"min": "\ud800"}, 400, "surrogates"),
        ("/pools/mail/scale", {"\udfff": 1}, 400, "surrogates"),
        ("/drain", {"within": 100}, 400, "within: a duration needs a unit"),
        ("/drain", {"whithin": "1s"}, 400, "whithin: there is no such key"),
        ("/nowhere", None, 404, "POST /api/v1/nowhere: 404"),
        ("/status", None, 405, "POST /api/v1/status: 405"),
    ],
)
def test_every_refusal_gives_its_reason(manager: Manager, path: str, body: Any, status: int, why: str) -> None:
    answer = manager.client.post(f"/api/v1{path}", json=body)
    problem = answer.get_json()
    assert (answer.status_code, answer.mimetype, why in problem["detail"]) == (status, "application/problem+json", True)
    assert (problem["type"], problem["status"]) == ("about:blank", status)


def test_the_log_of_an_unknown_pool_is_refused_and_of_a_silent_one_is_empty(manager: Manager) -> None:
    assert manager.client.get("/api/v1/logs?of=mail/1").get_json() == []
    assert manager.client.get("/api/v1/logs?of=nobody").status_code == 404


def test_a_browser_gets_a_page_of_a_refusal_if_there_is_one_and_programs_get_the_problem(manager: Manager) -> None:
    app = manager.client.application
    for accept, path, kind in (
        ("text/html,*/*;q=0.8", "/nowhere", "application/problem+json"),  # there is none yet
        ("text/html,*/*;q=0.8", "/nowhere", "text/html"),
        ("*/*", "/nowhere", "application/problem+json"),
        ("", "/nowhere", "application/problem+json"),
        ("text/html,*/*;q=0.8", "/api/v1/nowhere", "application/problem+json"),
    ):
        answer = manager.client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype) == (404, kind), (accept, path)
        if kind == "text/html":
            assert answer.text == "404: GET /nowhere: 404 Not Found"
        app.config[PROBLEM_PAGE] = lambda status, detail: f"{status}: {detail}"
