"""Serves the requests of one connection in turn."""

from __future__ import annotations

from collections.abc import Callable

from gearman_process.http.connection import HttpConnection
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest

#: Carries a request out. A refusal that it raises is the answer, and ends the connection.
Application = Callable[[HttpRequest], HttpAnswer]


def serve(connection: HttpConnection, application: Application, malformed: Callable[[HttpRefusal], HttpAnswer]) -> None:
    """Answer requests until the peer or a refusal ends the connection; then it is closed. `malformed` answers what
    is no valid request, and so never reaches the application.

    Raises:
        OSError: the connection was lost.
        Exception: the application's own error, after the peer got a 500.
    """
    try:
        while _serve_one(connection, application, malformed):
            pass
    finally:
        connection.close()


def _serve_one(
    connection: HttpConnection, application: Application, malformed: Callable[[HttpRefusal], HttpAnswer]
) -> bool:
    """Answer one request. Returns whether another may follow."""
    try:
        request = connection.next_request()
    except HttpRefusal as refusal:
        return connection.answer(malformed(refusal), closes=True)
    if request is None:
        return False
    try:
        answer = application(request)
    except HttpRefusal as refusal:
        return connection.answer(refusal.answer, closes=True)
    except Exception:
        connection.answer(HttpRefusal(500, "internal error").answer, closes=True)
        raise
    return connection.answer(answer)
