"""The routes `/login` and `/logout`: a session for browsers."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

import gevent
from flask import Blueprint, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from gevent.lock import BoundedSemaphore

from gearman_manager.access.attempts import Attempts
from gearman_manager.access.caller import Caller, Kind
from gearman_manager.access.guards import act_as, current_caller
from gearman_manager.access.requirements import needs
from gearman_manager.access.sessions import COOKIE, Sessions
from gearman_manager.access.users_file import is_password_of

_log = logging.getLogger("control")
#: Passwords that are checked at once, each by a thread and with 32 MiB, and those that may wait for that.
_AT_ONCE: Final = 2
_WAITING: Final = 8
#: Of a name: attempts are counted by names that others choose, and stand in the log.
_MOST_CHARACTERS: Final = 100


class Login:
    """Checks what callers show, in a thread: it takes tens of milliseconds, in which the manager's loop goes on."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._attempts = Attempts()
        self._turn = BoundedSemaphore(_AT_ONCE)
        self._under_way = 0

    def wait_s(self, address: str, name: str) -> float:
        """How long the next attempt must wait; 0: it may come."""
        if self._under_way >= _AT_ONCE + _WAITING:
            return 1.0
        return self._attempts.wait_s(address, name, time.monotonic())

    def begin(self, address: str, name: str, password: str) -> str | None:
        """The cookie of a session, for a user's password, or without a name for a token; None: it is wrong."""
        self._attempts.note(address, name, time.monotonic())
        credentials = self._sessions.credentials
        if name:
            kind, found = Kind.USER, name if self._is_password(name, password) else None
        else:
            kind, found = Kind.TOKEN, credentials.token(password.encode())
        if found is None:
            _log.warning("a login from %s as %s was refused", address, name or "the holder of a token")
            return None
        self._attempts.succeeded(address, name)
        return self._sessions.begin(kind, found)

    def caller(self, cookie: str, nobody: Caller) -> Caller:
        """Who has just logged in."""
        return self._sessions.caller(cookie, nobody.address, is_https=nobody.is_https) or nobody

    def end(self, session: str) -> None:
        """The session is over."""
        self._sessions.end(session)

    def _is_password(self, name: str, password: str) -> bool:
        user = self._sessions.credentials.users.get(name)
        self._under_way += 1
        try:
            with self._turn:
                return bool(gevent.get_hub().threadpool.apply(is_password_of, (user, password)))
        finally:
            self._under_way -= 1


def login_routes(login: Login) -> Blueprint:
    """The routes. A form has `name` and `password`, for a token `password` alone, and as `next` the page to go to."""
    routes = Blueprint("access", __name__, template_folder="templates")

    @routes.get("/login")
    @needs(None)
    def form() -> ResponseReturnValue:
        if current_caller().role is not None:
            return redirect(_own_page(request.args.get("next", "")), 303)
        return _page("", 200, comes_from_elsewhere=request.headers.get("Sec-Fetch-Site") == "cross-site")

    @routes.post("/login")
    @needs(None)
    def begin() -> ResponseReturnValue:
        caller, name = current_caller(), request.form.get("name", "").strip()[:_MOST_CHARACTERS]
        wait_s = login.wait_s(caller.address, name)
        if wait_s > 0:
            page = _page(f"too many attempts: try again in {math.ceil(wait_s)} s", 429)
            page.headers["Retry-After"] = str(math.ceil(wait_s))
            return page
        cookie = login.begin(caller.address, name, request.form.get("password", ""))
        if cookie is None:
            return _page("this name and password, or this token, are not known here", 403)
        act_as(login.caller(cookie, caller))
        answer = redirect(_own_page(request.form.get("next", "")), 303)
        answer.set_cookie(COOKIE, cookie, path=_root() or "/", secure=caller.is_https, httponly=True, samesite="Strict")
        return answer

    @routes.post("/logout")
    @needs(None)
    def end() -> ResponseReturnValue:
        caller = current_caller()
        if caller.session:
            login.end(caller.session)
        answer = redirect(f"{_root()}/login", 303)
        answer.delete_cookie(COOKIE, path=_root() or "/")
        return answer

    return routes


def _page(message: str, status: int, *, comes_from_elsewhere: bool = False) -> Response:
    """The form. A browser that follows a link of another site, as in a mail, has not sent the cookie of a session that
    there may be (SameSite=Strict): it is told to ask again, of its own accord."""
    goal = request.values.get("next", "")
    text = render_template("login.html", message=message, next=goal, root=_root(), again=comes_from_elsewhere)
    return Response(text, status, mimetype="text/html")


def _root() -> str:
    """The path under which a proxy shows us; empty: none."""
    return request.root_path.rstrip("/")


def _own_page(path: str) -> str:
    """The address of a page of ours; of the first one if that is none."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return _root() + (path if is_ours else "/")
