"""The application around all routes: its limits, and its refusals."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from gearman_manager.control.problems import problem, problem_of
from gearman_manager.control.wsgi import MAX_BODY_BYTES
from gearman_manager.errors import ManagerError


class _Json(DefaultJSONProvider):
    """Of all requests and answers."""

    sort_keys = False

    def loads(self, s: str | bytes, **options: Any) -> Any:
        """As the base, but what is nested too deeply is no JSON for us, and not an error of ours."""
        try:
            return super().loads(s, **options)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def make_app() -> Flask:
    """The application without routes."""
    app = Flask("gearman_manager.control", static_folder=None)
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # an empty name in a path must not cause a redirection

    @app.errorhandler(ManagerError)
    def refused(error: ManagerError) -> ResponseReturnValue:
        return problem_of(error)

    @app.errorhandler(HTTPException)
    def impossible(error: HTTPException) -> ResponseReturnValue:
        why = "; the manager's log has the reason" if error.code == 500 else ""
        answer = problem(error.code or 500, f"{request.method} {request.path}: {error.code} {error.name}{why}")
        for name, value in error.get_headers():
            if name != "Content-Type":
                answer.headers[name] = value  # of a 405 the methods that there are
        return answer

    return app
