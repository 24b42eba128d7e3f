"""Refusals as problems of RFC 9457: JSON objects with `type`, `title`, `status` and `detail`.

Browsers get a page instead, if there is one: under `PROBLEM_PAGE` an application's configuration can hold a function
that makes it of the status and the detail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Response, current_app, request

from gearman_manager.access.refusals import MEDIA_TYPE, problem_text
from gearman_manager.errors import Forbidden, ManagerError, NotFound, NotNow, Unauthorized, UnexpectedEvent, Unreachable
from gearman_manager.history.history_file import HistoryError

PROBLEM_PAGE: Final = "GEARMAN_PROBLEM_PAGE"
#: The statuses of our errors; the status of all others is 400.
_STATUSES: Final[Mapping[type[ManagerError], int]] = {
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    NotNow: 409,
    UnexpectedEvent: 409,
    Unreachable: 502,
    HistoryError: 502,
}


def problem(status: int, detail: str) -> Response:
    """The answer of a route that refuses."""
    make_page = current_app.config.get(PROBLEM_PAGE)
    if make_page is not None and not request.path.startswith("/api/") and _prefers_a_page():
        return Response(make_page(status, detail), status, mimetype="text/html")
    return Response(problem_text(status, detail), status, mimetype=MEDIA_TYPE)


def problem_of(error: ManagerError) -> Response:
    """The answer to a request that one of our errors ended."""
    return problem(status_of(error), str(error))


def status_of(error: ManagerError) -> int:
    """The status of that answer."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 400)


def _prefers_a_page() -> bool:
    kinds = request.accept_mimetypes
    return kinds["text/html"] > max(kinds["application/json"], kinds[MEDIA_TYPE])
