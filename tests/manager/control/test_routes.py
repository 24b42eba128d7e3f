"""The control API's routes and the objects that they call, without a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gevent.event
import pytest
from flask.testing import FlaskClient

from gearman_manager.config import Config, FoundFunction, lay_out
from gearman_manager.control.app import make_app
from gearman_manager.control.manager_routes import manager_routes
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.control.pool_routes import pool_routes
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.pools.pool import Pool
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.pool_sizes import PoolSizes

CONFIG = Config.model_validate({"server": {}, "pools": {"mail": {"max": 3}}})


class Manager:
    """A manager with one pool, which only notes requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_healthy = True
        self.pool = Pool("mail")
        self.pool.arrange("1")
        self.awake = gevent.event.Event()
        workforce: Any = SimpleNamespace(active=[self.pool])
        autoscaler: Any = SimpleNamespace(arrange=lambda *_: None)
        self.sizes = PoolSizes(autoscaler, HostGuards(CONFIG.limits, cast(Any, None)), self.awake.set)
        self.sizes.arrange(lay_out(CONFIG, [FoundFunction("mail", "m.py", 1, {})], 1), CONFIG.limits)
        self.awake.clear()
        app = make_app()
        app.register_blueprint(manager_routes(self, cast(Any, self), RecentLog()))
        app.register_blueprint(pool_routes(OperatorChanges(workforce, self.sizes, self.awake.set)))
        self.client: FlaskClient = app.test_client()

    def stop(self) -> None:
        self.asked.append("stop")

    def reload(self) -> None:
        self.asked.append("reload")

    def health(self) -> Any:
        return SimpleNamespace(is_healthy=self.is_healthy, text="2 workers in 1 pool, 0 busy")

    def report(self) -> dict[str, Any]:
        return {"pools": {"mail": {}}}


@pytest.fixture
def manager() -> Manager:
    return Manager()


def test_health_is_an_error_while_not_all_is_well(manager: Manager) -> None:
    answer = manager.client.get("/health")
    assert (answer.status_code, answer.get_json()) == (200, {"health": "2 workers in 1 pool, 0 busy"})
    manager.is_healthy = False
    answer = manager.client.get("/health")
    assert (answer.status_code, answer.get_json()) == (503, {"error": "2 workers in 1 pool, 0 busy"})


def test_stop_and_reload_reach_the_supervisor(manager: Manager) -> None:
    assert manager.client.post("/stop").status_code == 202
    assert manager.client.post("/reload").get_json() == {"reloading": True}
    assert manager.asked == ["stop", "reload"]


def test_pause_and_resume_reach_the_pool(manager: Manager) -> None:
    assert manager.client.post("/pools/mail/pause").get_json() == {"paused": True}
    assert manager.pool.state is PoolState.PAUSED
    assert manager.awake.is_set()
    assert manager.client.post("/pools/mail/resume").get_json() == {"paused": False}
    assert manager.pool.state is PoolState.RUNNING


def test_a_restart_marks_the_workers_as_worn(manager: Manager) -> None:
    worker = manager.pool.new_worker(0.0)
    assert manager.client.post("/restart?pool=mail").status_code == 202
    assert worker.is_worn
    assert manager.client.post("/restart").status_code == 202


def test_a_new_size_reaches_the_pool_sizes(manager: Manager) -> None:
    assert manager.client.post("/pools/mail/scale", json={"min": 2, "max": 5}).get_json() == {"min": 2, "max": 5}
    assert (manager.sizes.current["mail"].min, manager.sizes.current["mail"].max) == (2, 5)
    assert manager.awake.is_set()


@pytest.mark.parametrize("size", [(5, 2), (-1, 2), (0, 0)])
def test_an_invalid_size_is_refused(manager: Manager, size: tuple[int, int]) -> None:
    answer = manager.client.post("/pools/mail/scale", json={"min": size[0], "max": size[1]})
    assert answer.status_code == 400
    assert manager.sizes.current["mail"].max == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/pools/nobody/pause", None, 400, "there is no pool nobody; the pools are: mail"),
        ("/pools/mail/scale", {"min": 1}, 400, "min and max, two whole numbers"),
        ("/pools/mail/scale", {"min": 1, "max": 2, "mx": 3}, 400, "mx: there is no such key"),
        ("/pools/mail/scale", [1, 2], 400, "a JSON object is expected"),
        ("/nowhere", None, 404, "POST /nowhere: 404"),
        ("/status", None, 405, "POST /status: 405"),
    ],
)
def test_every_refusal_gives_its_reason(manager: Manager, path: str, body: Any, status: int, why: str) -> None:
    answer = manager.client.post(path, json=body)
    assert (answer.status_code, why in answer.get_json()["error"]) == (status, True)


def test_the_log_of_an_unknown_pool_is_refused_and_of_a_silent_one_is_empty(manager: Manager) -> None:
    assert manager.client.get("/logs?of=mail/1").get_json() == []
    assert manager.client.get("/logs?of=nobody").status_code == 400
