"""The application around the control API's routes. Bodies are JSON objects with known keys, and refusals are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, HTTPException

from gearman_manager.control.wsgi import MAX_BODY_BYTES
from gearman_manager.errors import ManagerError
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s


def make_app() -> Flask:
    """The application without routes; each module `*_routes` makes a blueprint of them."""
    app = Flask("gearman_manager.control", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # an empty name in a path must not cause a redirection

    @app.errorhandler(ManagerError)
    def refused(error: ManagerError) -> ResponseReturnValue:
        return jsonify({"error": str(error)}), 400

    @app.errorhandler(HTTPException)
    def impossible(error: HTTPException) -> ResponseReturnValue:
        why = "; the manager's log has the reason" if error.code == 500 else ""
        return jsonify({"error": f"{request.method} {request.path}: {error.code} {error.name}{why}"}), error.code or 500

    return app


class Followable(Protocol):
    """Something that takes its time."""

    def report(self) -> Mapping[str, Any] | None:
        """How far it has come; None: it was not begun."""

    def follow(self) -> Iterator[Mapping[str, Any]]:
        """The report now, then again whenever it has changed, until its end."""


def followed(what: Followable, none: str) -> Response:
    """The answer that tells how far something has come: its report, or with `?follow` each report until its end.

    Raises:
        ManagerError: there is no report; it says `none`.
    """
    report = what.report()
    if report is None:
        raise ManagerError(none)
    if "follow" not in request.args:
        return jsonify(report)
    return Response((json.dumps(each) + "\n" for each in what.follow()), mimetype="application/x-ndjson")


def seconds_of(body: Mapping[str, Any], key: str) -> float | None:
    """The duration of that key of a body, in seconds; None: it has none.

    Raises:
        ManagerError: it is no duration.
    """
    try:
        return None if body.get(key) is None else parse_duration_s(body[key])
    except UnitError as error:
        raise ManagerError(f"{key}: {error}") from error


def json_body(*keys: str) -> Mapping[str, Any]:
    """The JSON object in a request's body; the Content-Type does not matter.

    A key that is not among `keys` is refused: with a misspelt condition a command would select too many jobs.

    Raises:
        ManagerError: the body is no JSON object, or has another key.
    """
    try:
        body = request.get_json(force=True)  # curl -d declares every body a form
    except BadRequest:
        body = None
    if not isinstance(body, dict):
        raise ManagerError(f"a JSON object is expected as the body, with {' and '.join(keys)}")
    unknown = [key for key in body if key not in keys]
    if unknown:
        raise ManagerError(f"{unknown[0]}: there is no such key; there {'are' if keys[1:] else 'is'} {', '.join(keys)}")
    return body
