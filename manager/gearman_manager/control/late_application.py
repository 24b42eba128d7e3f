"""Stands for the application until that is made: requests that come earlier wait for it.

Its modules are a third of all that a manager imports, and no worker needs them. So it is made in portions once the
workers are up, slowly, since they begin their first jobs then; and at once as soon as there is a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Final

import gevent.event

from gearman_manager.control.turns import PAUSE_S

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Before each portion, unless a request waits.
PACE_S: Final = 0.1
#: Makes an application; between two portions of that it yields.
Making = Generator[None, None, "WSGIApplication"]


class LateApplication:
    """A WSGI application that is made once the workers are up, or at the first request."""

    def __init__(self, make: Callable[[], Making], wake: Callable[[], None]) -> None:
        """`wake` is called at the first request that comes too early: `make_on` has something to do then."""
        self._make = make
        self._wake = wake
        self._does_one_wait = False
        self._making: Making | None = None
        self._due_at = 0.0
        self._made: gevent.event.AsyncResult[WSGIApplication] = gevent.event.AsyncResult()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Carry out a request, after the making."""
        if not self._made.ready() and not self._does_one_wait:
            self._does_one_wait = True
            self._wake()
        application: WSGIApplication = self._made.get()
        return application(environ, start_response)

    def make_on(self, now: float, *, are_workers_up: bool) -> float | None:
        """Make the next portion if it is due; returns when the one after it is, or None. What goes wrong is raised."""
        if self._made.ready() or not (are_workers_up or self._does_one_wait):
            return None
        if self._making is None:
            self._making, self._due_at = self._make(), now + PACE_S
        if now < self._due_at and not self._does_one_wait:
            return self._due_at
        try:
            next(self._making)
        except StopIteration as end:
            self._made.set(end.value)
            return None
        self._due_at = time.monotonic() + (PAUSE_S if self._does_one_wait else PACE_S)
        return self._due_at
