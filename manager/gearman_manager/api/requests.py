"""Reads queries and bodies of requests. Both have known keys alone: with a misspelt condition a request would concern
too many jobs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from flask import current_app, request
from werkzeug.exceptions import BadRequest

from gearman_manager.api.description import Operation, Schema, operation_of
from gearman_manager.errors import ManagerError
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s

#: Numbers in bodies: more of them many readers of JSON can't tell apart.
MOST_COUNT: Final = 2**53


def current_operation() -> Operation:
    """The description of the route that carries out the request."""
    operation = operation_of(current_app.view_functions[request.endpoint or ""])
    assert operation is not None, f"{request.endpoint} is not described"
    return operation


def check_query() -> None:
    """Refuse a query that the route's description does not allow.

    Raises:
        ManagerError: a parameter is unknown, missing, there twice, or has another value.
    """
    operation = current_operation()
    for name, values in request.args.lists():
        if name not in operation.query:
            there_are = f"there are {', '.join(operation.query)}" if operation.query else "this takes none"
            raise ManagerError(f"{name}: there is no such condition; {there_are}")
        if len(values) > 1:
            raise ManagerError(f"{name}: it is there {len(values)} times; which of them is meant?")
        _check_value(name, values[0], operation.query[name])
    for name in operation.required:
        if name not in request.args:
            raise ManagerError(f"{name}: this condition is missing")


def _check_value(name: str, value: str, schema: Schema) -> None:
    """Refuse a parameter's value that its schema does not allow."""
    if "enum" in schema and value not in schema["enum"]:
        raise ManagerError(f"{name}: one of {', '.join(schema['enum'])} is expected")
    if schema["type"] == "string":
        if len(value) < schema.get("minLength", 0):
            raise ManagerError(f"{name}: text is expected")
        if len(value) > schema.get("maxLength", math.inf):
            raise ManagerError(f"{name}: at most {schema['maxLength']} characters are expected")
        return
    lowest, highest = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    up_to = "up" if highest == math.inf else f"to {highest}"
    if schema["type"] == "integer":
        if not re.fullmatch("[0-9]{1,9}", value, re.ASCII) or not lowest <= int(value) <= highest:
            raise ManagerError(f"{name}: a whole number from {lowest} {up_to} is expected")
    elif not _is_number(value) or not lowest <= float(value) <= highest:
        raise ManagerError(f"{name}: a number from {lowest} {up_to} is expected")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text.isascii() and "_" not in text and text == text.strip()
    except ValueError:
        return False


def json_body() -> Mapping[str, Any]:
    """The JSON object in a request's body; the Content-Type does not matter. Empty: there is none, and needs not be.

    Raises:
        ManagerError: the body is no JSON object, or has a key that the route does not know.
    """
    operation = current_operation()
    assert operation.body is not None
    if operation.is_body_optional and not request.content_length:
        return {}
    keys = [*operation.body["properties"]]
    try:
        body = request.get_json(force=True)  # curl -d declares every body a form
    except BadRequest:
        body = None
    if not _is_text(body):
        raise ManagerError("the body holds half a pair of surrogates (\\ud800 to \\udfff), which is no text")
    if not isinstance(body, dict):
        raise ManagerError(f"a JSON object is expected as the body, with {' and '.join(keys)}")
    unknown = [key for key in body if key not in keys]
    if unknown:
        raise ManagerError(f"{unknown[0]}: there is no such key; there {'are' if keys[1:] else 'is'} {', '.join(keys)}")
    return body


def _is_text(value: Any) -> bool:
    """Whether all texts in a value of JSON can be encoded."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def seconds_of(body: Mapping[str, Any], key: str) -> float | None:
    """The duration of that key of a body, in seconds; None: it has none.

    Raises:
        ManagerError: it is no duration.
    """
    try:
        return None if body.get(key) is None else parse_duration_s(body[key])
    except UnitError as error:
        raise ManagerError(f"{key}: {error}") from error


def name_of(body: Mapping[str, Any], key: str, what: str) -> str:
    """The text of that key of a body, which must be there.

    Raises:
        ManagerError: it is no text, or empty; the message says that `what` is expected.
    """
    name = body.get(key)
    if not isinstance(name, str) or not name:
        raise ManagerError(f"{key}: {what} is expected")
    return name


def count_of(body: Mapping[str, Any], key: str) -> int | None:
    """The number of things of that key of a body; None: it has none.

    Raises:
        ManagerError: it is no whole number, or a negative or very large one.
    """
    number = whole_of(body, key)
    if body.get(key) is not None and (number is None or not 0 <= number <= MOST_COUNT):
        raise ManagerError(f"{key}: a whole number from 0 up is expected")
    return number


def whole_of(body: Mapping[str, Any], key: str) -> int | None:
    """The whole number of that key of a body; None: there is none, or it is something else."""
    number = body.get(key)
    if isinstance(number, float) and number.is_integer():
        return int(number)  # JSON does not tell 2 from 2.0
    return number if isinstance(number, int) and not isinstance(number, bool) else None
