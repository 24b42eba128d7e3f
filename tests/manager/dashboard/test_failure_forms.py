"""The forms of a group of failures, as they are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask import Blueprint

from gearman_manager.control.app import make_app
from gearman_manager.dashboard.failure_pages import add_failure_forms


def test_a_mark_is_as_long_as_many_failures_make_it() -> None:
    begun: list[tuple[object, ...]] = []

    def begin(*change: object) -> SimpleNamespace:
        begun.append(change)
        return SimpleNamespace(id="c1")

    changes: Any = SimpleNamespace(begin=begin)
    routes, app = Blueprint("dashboard", __name__), make_app()
    routes.add_url_rule("/changes/<name>", "change", lambda name: name)
    add_failure_forms(routes, changes)
    app.register_blueprint(routes)
    client = app.test_client()
    answer = client.post("/failures/g/retry", data={"mark": "9" * 18, "expected": "3"})
    assert (answer.status_code, answer.location) == (303, "/changes/c1")
    assert begun == [("retry", "g", 10**18 - 1, 3)]
    answer = client.post("/failures/g/retry", data={"mark": "9" * 19, "expected": "3"})
    assert answer.status_code == 400
    assert "mark: a whole number is expected" in answer.text
