"""Answers that take their time: a report that is told again whenever it has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from flask import Response, jsonify, request

from gearman_manager.errors import NotFound


class Followable(Protocol):
    """Something that takes its time."""

    def report(self) -> Mapping[str, Any] | None:
        """How far it has come; None: it was not begun."""

    def follow(self) -> Iterator[Mapping[str, Any]]:
        """The report now, then again whenever it has changed, until its end."""


def followed(what: Followable, none: str) -> Response:
    """The answer that tells how far something has come: its report, or with `?follow` each report until its end.

    Raises:
        NotFound: there is no report; it says `none`.
    """
    report = what.report()
    if report is None:
        raise NotFound(none)
    if "follow" not in request.args:
        return jsonify(report)
    return Response((json.dumps(each) + "\n" for each in what.follow()), mimetype="application/x-ndjson")
