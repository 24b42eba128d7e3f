"""The checks in the application: each request's role, its token against forged requests, the headers of each answer."""

from __future__ import annotations

import hmac
from typing import Final

from flask import Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import CALLER, Caller, Kind, Role
from gearman_manager.access.refusals import HEADERS
from gearman_manager.access.requirements import SAFE_METHODS, needed_role
from gearman_manager.errors import Forbidden, Unauthorized

CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"


def current_caller() -> Caller:
    """Who makes the request that is carried out just now."""
    caller: Caller = request.environ[CALLER]
    return caller


def act_as(caller: Caller) -> None:
    """The request that is carried out just now is this caller's doing, although nobody made it: a login."""
    g.acting = caller


def acting_caller() -> Caller:
    """Whose doing the request is that is carried out just now."""
    caller: Caller = g.get("acting") or current_caller()
    return caller


def guard(app: Flask) -> None:
    """Have an application check its requests. Templates get `caller` and `csrf_token`."""

    @app.before_request
    def check() -> ResponseReturnValue | None:
        caller = current_caller()
        needed = needed_role(current_app.view_functions.get(request.endpoint or ""), request.method)
        if needed is not None and not caller.may(needed):
            if caller.role is None:
                raise Unauthorized("log in first")
            raise Forbidden(f"the role {needed.word} is needed for this; {caller.who} is {caller.role.word}")
        if caller.csrf and request.method not in SAFE_METHODS and not _is_own_form(caller):
            raise Forbidden(
                f"the header {CSRF_HEADER}, or the field {CSRF_FIELD}, is missing or out of date: load the page again"
            )
        return None

    @app.after_request
    def protect(answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    @app.context_processor
    def of_caller() -> dict[str, object]:
        caller = current_caller()
        return {
            "caller": caller,
            "csrf_token": caller.csrf,
            "Role": Role,
            "is_logged_in": caller.kind is not Kind.NOBODY,
        }


def _is_own_form(caller: Caller) -> bool:
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        request.get_data(cache=True)  # the form is read from there, and the body is still there for the route
        given = request.form.get(CSRF_FIELD, "")
    return hmac.compare_digest(given.encode(), caller.csrf.encode())
