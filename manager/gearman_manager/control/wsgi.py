"""The control API's application behind our HTTP connections: a request as WSGI wants it, and the answer back.

A body is small, so it is read whole before the application runs: it never waits for a peer.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from gearman_manager.access.caller import CALLER, Caller
from gearman_manager.access.gate import without_prefix
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

MAX_BODY_BYTES: Final = 1 << 20
#: Of a request of nobody: a name and a password.
MAX_LOGIN_BYTES: Final = 8192


def wsgi(application: WSGIApplication, request: HttpRequest, caller: Caller, prefix: str = "") -> HttpAnswer:
    """Have the application carry out a caller's request. A proxy shows us under the path `prefix`.

    Raises:
        HttpRefusal: its body is too large, or does not come.
    """
    status, headers = "500 Internal Server Error", [("Content-Length", "0")]

    def start_response(
        given_status: str, given_headers: list[tuple[str, str]], _error: Any = None, /
    ) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = given_status, given_headers
        return _no_write

    body = _body(request, MAX_BODY_BYTES if caller.role is not None else MAX_LOGIN_BYTES)
    pieces = application(_environ(request, body, caller, prefix), start_response)
    code, _, reason = status.partition(" ")
    return HttpAnswer(int(code), headers, _closing(pieces), reason)


def _body(request: HttpRequest, most_bytes: int) -> bytes:
    body = bytearray()
    while data := request.body.read():
        body += data
        if len(body) > most_bytes:
            raise HttpRefusal(413, f"the body may have at most {most_bytes} bytes")
    return bytes(body)


def _environ(request: HttpRequest, body: bytes, caller: Caller, prefix: str) -> WSGIEnvironment:
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": prefix,
        "PATH_INFO": without_prefix(request.path.decode("latin-1"), prefix),
        "QUERY_STRING": request.query,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": caller.address,
        CALLER: caller,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if caller.is_https else "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        if "_" in name or name in ("content-length", "transfer-encoding"):
            continue  # `a_b` would pass for `a-b`
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _closing(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, whose source is closed after them."""
    try:
        yield from pieces
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _no_write(_data: bytes) -> object:
    raise NotImplementedError("the application returns its answer")
