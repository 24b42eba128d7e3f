"""How requests that change something are worded as actions."""

from __future__ import annotations

from typing import Any, cast

import pytest
from flask import Flask, jsonify

from gearman_manager.access.caller import CALLER, Caller, Kind, Role
from gearman_manager.access.guards import act_as
from gearman_manager.control.problems import problem
from gearman_manager.history.action import MOST_CHARACTERS, Action
from gearman_manager.history.recording import record_actions, say_action

ALICE = Caller(Kind.USER, "alice", Role.OPERATOR, "10.0.0.1")
NOBODY = Caller(Kind.NOBODY, "", None, "10.0.0.2")


class Recorded:
    """An application whose actions are kept in a list."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        app = Flask("test")
        record_actions(app, cast(Any, self))
        app.add_url_rule(
            "/api/v1/pools/<path:name>/pause", "pause", lambda name: jsonify(paused=True), methods=["POST"]
        )
        app.add_url_rule(
            "/api/v1/dead/<any(retry, drop):what>", "dead", lambda what: problem(409, f"no {what}"), methods=["POST"]
        )
        app.add_url_rule("/api/v1/status", "status", lambda: "{}")
        app.add_url_rule("/login", "login", self.login, methods=["POST"])
        app.add_url_rule("/pools/<name>", "form", self.form, methods=["POST"])
        self.client = app.test_client()

    def note(self, action: Action) -> None:
        self.actions.append(action)

    def login(self) -> str:
        act_as(ALICE)
        return "a page"

    def form(self, name: str) -> str:
        say_action("pools resume", name)
        return "a page"

    def post(self, path: str, caller: Caller = ALICE, **options: Any) -> tuple[str, str, str, int, str]:
        """Make a request; returns what was noted of it last."""
        self.client.post(path, environ_overrides={CALLER: caller}, **options)
        action = self.actions[-1]
        return action.what, action.target, action.details, action.status, action.outcome


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_words_and_target_come_from_the_path_the_query_and_the_body(recorded: Recorded) -> None:
    assert recorded.post("/api/v1/pools/a/b/pause") == ("pools pause", "a/b", "", 200, '{"paused":true}')
    assert recorded.post("/api/v1/pools/a/pause?x=y")[1] == "a y"
    body = {"handles": ["H:1", "H:2"], "name": "n", "id": ""}
    assert recorded.post("/api/v1/dead/drop", json=body)[:2] == ("dead drop", "n H:1 H:2")
    assert recorded.post("/api/v1/dead/retry", json={"handles": 3})[:2] == ("dead retry", "")
    action = recorded.actions[0]
    assert (action.who, action.role, action.address) == ("user alice", "operator", "10.0.0.1")


def test_a_refusal_is_noted_with_its_reason(recorded: Recorded) -> None:
    assert recorded.post("/api/v1/dead/retry", data="no JSON") == ("dead retry", "", "", 409, "no retry")


def test_bodies_are_kept_without_workloads_and_are_bounded(recorded: Recorded) -> None:
    details = recorded.post("/api/v1/dead/drop", data='{"workload": "secret", "older": 3}')[2]
    assert details == '{"workload": "…", "older": 3}'
    assert recorded.post("/api/v1/dead/drop", json=["x" * 100_000])[2].startswith('["xxx')
    assert all(len(text) <= MOST_CHARACTERS for text in (recorded.actions[-1].details, recorded.actions[-1].target))


def test_pages_say_what_they_do_and_forms_are_not_kept(recorded: Recorded) -> None:
    assert recorded.post("/pools/mail", data={"password": "x"}) == ("pools resume", "mail", "", 200, "")


def test_a_login_is_noted_as_that_of_the_user(recorded: Recorded) -> None:
    assert recorded.post("/login", NOBODY)[:2] == ("login", "")
    assert recorded.actions[-1].who == "user alice"


def test_what_changes_nothing_what_is_not_there_and_what_nobody_asks_is_not_noted(recorded: Recorded) -> None:
    recorded.client.get("/api/v1/status", environ_overrides={CALLER: ALICE})
    recorded.client.post("/api/v1/nowhere", environ_overrides={CALLER: ALICE})
    recorded.client.post("/api/v1/pools/a/pause", environ_overrides={CALLER: NOBODY})
    assert recorded.actions == []
