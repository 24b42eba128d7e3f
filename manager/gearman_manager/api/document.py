"""The OpenAPI document of the API, made of the routes and of the descriptions beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, Final

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue

from gearman_manager import __version__
from gearman_manager.access.refusals import MEDIA_TYPE
from gearman_manager.access.requirements import needed_role
from gearman_manager.access.sessions import COOKIE
from gearman_manager.api.description import Operation, Schema, operation_of, record
from gearman_manager.api.requests import check_query

API: Final = "/api/v1"
#: A part of a rule that stands for a value: its converter, the converter's arguments, its name.
_VARIABLE: Final = re.compile(r"<(?:(\w+)(?:\(([^)]*)\))?:)?(\w+)>")
_NAME: Final[Schema] = {"type": "string", "pattern": "^[^\\x00-\\x1f\\x7f]+$", "maxLength": 8000}
#: The refusals that every route has: a request that makes no sense, and one that may not be made.
_REFUSALS: Final = (400, 401, 403)
_PROBLEM: Final[Schema] = {
    "description": "a refusal, as RFC 9457 has it; `detail` gives the reason",
    **record(type={"type": "string"}, title={"type": "string"}, status={"type": "integer"}, detail={"type": "string"}),
}
_DOCUMENT: Final = record(openapi={"type": "string"}, info={"type": "object"}, paths={"type": "object"})


def serve_api(app: Flask, *blueprints: Blueprint) -> None:
    """Serve these routes below `/api/v1`, and their document."""
    own = Blueprint("openapi", __name__)

    @own.get("/openapi.json")
    @Operation("This document.", {200: _DOCUMENT})
    def openapi() -> ResponseReturnValue:
        return jsonify(make_document(app, request.root_path.rstrip("/")))

    for routes in (*blueprints, own):
        routes.before_request(check_query)
        app.register_blueprint(routes, url_prefix=API)


def make_document(app: Flask, root: str = "") -> dict[str, Any]:
    """The document of an application's routes below `/api/v1`; `root` is the path prefix under which it is reached."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(API) or rule.defaults:
            continue
        operation = operation_of(app.view_functions[rule.endpoint])
        assert operation is not None, f"{rule.rule} is not described"
        (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        for path, values in _paths(rule.rule.removeprefix(API)):
            name = "-".join([method.lower(), *re.findall(r"\w+", path)])
            role = needed_role(app.view_functions[rule.endpoint], method)
            paths.setdefault(path, {})[method.lower()] = {
                **_operation(operation, name, values),
                "description": f"For the role {role.word if role else 'of everybody'}.",
            }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gearman-manager",
            "version": __version__,
            "description": "Look at a running manager, and steer it. Requests of a session that change something bring "
            "along the `csrf_token` of `/me` in the header `X-CSRF-Token`.",
        },
        "servers": [{"url": root + API}],
        "security": [{"token": []}, {"session": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "responses": {"Refusal": _answer("a refusal", MEDIA_TYPE, {"$ref": "#/components/schemas/Problem"})},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _paths(rule: str) -> Iterator[tuple[str, list[str]]]:
    """The paths that a rule stands for, with the names of their variables: one with a choice of words is several."""
    choices = [
        (arguments.replace(" ", "").split(",") if converter == "any" else ["{" + name + "}"])
        for converter, arguments, name in _VARIABLE.findall(rule)
    ]
    for chosen in product(*choices):
        path = _VARIABLE.sub(partial(_next, iter(chosen)), rule)
        yield path, re.findall(r"{(\w+)}", path)


def _next(words: Iterator[str], _match: re.Match[str]) -> str:
    return next(words)


def _operation(operation: Operation, name: str, variables: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": name, "summary": operation.summary}
    parameters = [_parameter(each, "path", _NAME, is_required=True) for each in variables]
    for query, schema in operation.query.items():
        parameters.append(_parameter(query, "query", schema, is_required=query in operation.required))
    if parameters:
        made["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        made["requestBody"] = {"required": not operation.is_body_optional, "content": content}
    answers = {
        str(status): _answer("done" if status < 300 else "see the summary", operation.media_type, schema)
        for status, schema in operation.answers.items()
    }
    refusals = {str(status): {"$ref": "#/components/responses/Refusal"} for status in (*_REFUSALS, *operation.refusals)}
    made["responses"] = dict(sorted({**answers, **refusals}.items()))
    return made


def _parameter(name: str, place: str, schema: Schema, *, is_required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": is_required, "schema": schema}


def _answer(description: str, media_type: str, schema: Schema | Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}
