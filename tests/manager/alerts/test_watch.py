"""The watch over pools, queues and servers that a test changes, and a real web server that is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from gearman_manager.alerts import board, server_questions, watch
from gearman_manager.alerts.deliveries import Deliveries
from gearman_manager.alerts.server_questions import ServerQuestions
from gearman_manager.alerts.watch import AlertWatch, Watched
from gearman_manager.config import Config
from gearman_manager.errors import ManagerError
from gearman_manager.failures.mutes import Mutes
from gearman_manager.pools.pool import Pool, WorkerEvent
from gearman_manager.scaling.queue_dialogue import FunctionQueue

from ...web_hook import WebHook

DEADLINE_S = 30.0


class Stage:
    """A manager with one pool, one function and one server, as far as the watch sees it."""

    def __init__(self, hook: WebHook) -> None:
        self.rules: dict[str, Any] = {}
        self.hook = hook
        self.pool = Pool("mail")
        self.pool.arrange("1")
        self.queue = FunctionQueue()
        self.server = SimpleNamespace(address="a:4730", is_answering=True, trouble="")
        self.away: list[str] = []
        self.peers: dict[str, tuple[bool | None, str]] = {"b https://b:4780": (True, "")}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.pages: dict[str, list[dict[str, Any]]] = {"jobs": [], "dead": []}
        self.mutes = Mutes(lambda: {"mail"})
        layout = SimpleNamespace(functions={"mail": None})
        workforce = SimpleNamespace(active=[self.pool], of=lambda _: [], registered=lambda _: ["mail"])
        queues = SimpleNamespace(servers=[self.server], of=lambda _: self.queue, away=self.away)
        generations = SimpleNamespace(current=SimpleNamespace(layout=layout))
        live = cast(Any, generations), cast(Any, workforce), cast(Any, queues)
        watched = Watched(self.config, *live, self.mutes, lambda: "http://h:1/", lambda: self.peers)
        questions = ServerQuestions(self.page, lambda: ["a:4730"])
        self.deliveries = Deliveries((0.05,))
        self.watch = AlertWatch(watched, questions, self.deliveries)

    def config(self) -> Config:
        to = {"webhook": self.hook.url}
        return Config.model_validate({"server": {}, "alerts": {"to": to, "rules": self.rules}})

    def page(self, family: str, conditions: Any) -> dict[str, Any]:
        self.asked.append((family, dict(conditions)))
        if self.pages[family] is None:
            raise ManagerError("it does not know the command")
        return {"jobs": self.pages[family], "next": None}

    def alert(self, state: str) -> dict[str, Any]:
        """Wait for an alert in this state."""

        def found() -> dict[str, Any] | None:
            alerts = [alert for message in self.hook.received for alert in message["alerts"]]
            return next((alert for alert in alerts if alert["state"] == state), None)

        with gevent.Timeout(DEADLINE_S, AssertionError(f"nobody was told of a {state} alert")):
            while (alert := found()) is None:
                gevent.sleep(0.01)
        return alert


@pytest.fixture
def stage(hook: WebHook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    for module, name, value in (
        (watch, "LOOK_S", 0.02),
        (board, "GATHER_S", 0.1),
        (board, "GAP_S", 0.2),
        (board, "CALM_S", 0.2),
        (server_questions, "EVERY_S", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    made = Stage(hook)
    made.watch.start()
    yield made
    made.watch.close()


def crash(pool: Pool) -> None:
    for _ in range(3):
        worker = pool.new_worker(0.0)
        pool.event(worker.name, WorkerEvent.FORKED, 0.0)
        pool.crashed(worker.name, 0.0, registered=False, jitter=0.0)
    pool.last_error = "mail/3 pid 7: exit status 3"


def test_a_pool_that_crashes_is_told_and_so_is_its_recovery(stage: Stage) -> None:
    stage.rules = {"crash_loop": True}
    crash(stage.pool)
    alert = stage.alert("new")
    assert (alert["rule"], alert["kind"], alert["name"]) == ("crash_loop", "pool", "mail")
    assert (alert["last_error"], alert["look"]) == ("mail/3 pid 7: exit status 3", "gearman-manager logs mail")
    stage.pool.restart()
    solved = stage.alert("solved")
    assert (solved["rule"], solved["name"]) == ("crash_loop", "mail")
    assert solved["since"] <= solved["until"]


def test_a_moving_queue_whose_oldest_job_is_too_old_is_told_with_its_handle(stage: Stage) -> None:
    stage.rules = {"waiting": "100ms"}
    stage.pages["jobs"] = [{"handle": "H:a:2", "for_s": 3.0}, {"handle": "H:a:1", "for_s": 90.0}]
    counts = iter(range(10_000, 0, -1))

    def drain() -> None:
        while True:
            waiting = next(counts)
            stage.queue = FunctionQueue(queued=waiting, waiting=waiting)
            gevent.sleep(0.005)

    draining = gevent.spawn(drain)
    alert = stage.alert("new")
    draining.kill()
    assert alert["rule"] == "waiting"
    assert "H:a:1" in alert["text"]
    conditions = {"function": "mail", "state": "waiting", "limit": "20", "server": "a:4730"}
    assert stage.asked[0] == ("jobs", conditions)


def letter(number: int) -> dict[str, Any]:
    return {"handle": f"H:a:{number}", "function": "mail", "died": time.time(), "error": "KeyError"}


def test_muted_failures_cause_no_alert_and_others_one_that_says_where_to_look(stage: Stage) -> None:
    now = time.time()
    stage.mutes.set("muted", now + 3600)
    for number in (1, 2):
        stage.mutes.note_letter(f"H:a:{number}", "muted")
        stage.mutes.note_failure("muted", "mail", now)
    stage.mutes.note_failure("other", "mail", now)
    stage.pages["dead"] = [letter(1), letter(2)]
    stage.rules = {"dead": 1, "failures": "2/5m", "store": True}
    with gevent.Timeout(DEADLINE_S):
        while not stage.asked:
            gevent.sleep(0.01)
    stage.pool.counts.failed += 3  # of these two are muted
    stage.server.trouble = "the disk is full"
    assert stage.alert("new")["rule"] == "store"
    assert [alert["rule"] for message in stage.hook.received for alert in message["alerts"]] == ["store"]
    stage.pool.counts.failed += 1
    stage.pages["dead"].append(letter(3))
    with gevent.Timeout(DEADLINE_S):
        while {"dead", "failures"} - {a["rule"] for message in stage.hook.received for a in message["alerts"]}:
            gevent.sleep(0.01)
    told = {alert["rule"]: alert for message in stage.hook.received for alert in message["alerts"]}
    assert told["dead"]["text"].startswith("1 background job failed for good")
    assert told["dead"]["look"].endswith(", or http://h:1/failures?function=mail")
    assert told["failures"]["text"].startswith("2 jobs failed")
    assert told["failures"]["look"].endswith("logs mail, or http://h:1/failures?function=mail")


def test_a_server_that_knows_no_such_question_leaves_the_other_rules_alone(stage: Stage) -> None:
    stage.rules = {"waiting": "100ms", "dead": 1, "store": True}
    stage.pages = cast(Any, {"jobs": None, "dead": None})
    stage.queue = FunctionQueue(queued=5, waiting=5)
    stage.server.trouble = "the disk is full"
    assert stage.alert("new")["last_error"] == "the disk is full"
    with gevent.Timeout(DEADLINE_S):
        while len({alert["rule"] for message in stage.hook.received for alert in message["alerts"]}) < 2:
            gevent.sleep(0.01)


def test_while_a_server_is_away_what_waits_there_is_not_solved(stage: Stage) -> None:
    stage.rules = {"waiting": "100ms", "server_down": "100ms"}
    stage.queue = FunctionQueue(queued=5, waiting=5)
    assert stage.alert("new")["rule"] == "waiting"
    stage.away.append("a:4730")
    stage.queue, stage.server.is_answering = FunctionQueue(), False
    with gevent.Timeout(DEADLINE_S):
        while not any("server_down" in message["subject"] for message in stage.hook.received):
            gevent.sleep(0.01)
    assert not any(alert["state"] == "solved" for message in stage.hook.received for alert in message["alerts"])


def test_a_manager_that_is_down_is_told_and_so_is_its_return(stage: Stage) -> None:
    stage.rules = {"peer_down": "100ms"}
    stage.peers["b https://b:4780"] = (False, "https://b:4780 refuses the connection")
    alert = stage.alert("new")
    assert (alert["kind"], alert["name"]) == ("manager", "b https://b:4780")
    assert alert["last_error"] == "https://b:4780 refuses the connection"
    stage.peers["b https://b:4780"] = (True, "")
    assert stage.alert("solved")["rule"] == "peer_down"


def test_when_a_server_stays_away_the_others_alone_count(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AWAY_S", 0.5)
    stage.rules = {"waiting": "100ms"}
    stage.queue = FunctionQueue(queued=5, waiting=5)
    assert stage.alert("new")["rule"] == "waiting"
    stage.away.append("a:4730")
    stage.queue = FunctionQueue()
    assert stage.alert("solved")["rule"] == "waiting"


def test_a_look_that_fails_does_not_end_the_watch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage.rules = {"store": True}
    stage.server.trouble = "the disk is full"
    broken: Callable[..., Any] = lambda *_: 1 / 0  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(watch, "findings", broken)
        with gevent.Timeout(DEADLINE_S):
            while "the look for troubles failed" not in caplog.text:
                gevent.sleep(0.01)
    assert stage.alert("new")["rule"] == "store"
    assert caplog.text.count("the look for troubles failed") == 1
