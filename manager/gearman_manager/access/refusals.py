"""Refusals of requests that reach no application, as problems of RFC 9457, and the headers of every answer.

`control/problems.py` makes the refusals of the application.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from gearman_process.http.messages import HttpAnswer, HttpRefusal

MEDIA_TYPE: Final = "application/problem+json"
#: Nothing from elsewhere, nothing inline, in no frame. With `no-referrer` browsers would hide the origin of our forms.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def refusal_as_problem(refusal: HttpRefusal) -> HttpAnswer:
    """The answer to a request that never reached a route."""
    headers = (*refusal.headers, *HEADERS.items(), ("Content-Type", MEDIA_TYPE))
    return HttpAnswer(refusal.status, headers, problem_text(refusal.status, str(refusal)).encode())


def problem_text(status: int, detail: str) -> str:
    """The problem as JSON."""
    # Without a page of ours about it, the type says no more than the status.
    about = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(about) + "\n"
