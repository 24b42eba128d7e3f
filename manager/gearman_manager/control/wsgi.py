"""The control API's application behind our HTTP connections: a request as WSGI wants it, and the answer back.

A body is small, so it is read whole before the application runs: it never waits for a peer.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

MAX_BODY_BYTES: Final = 1 << 20


def wsgi(application: WSGIApplication, request: HttpRequest, address: str) -> HttpAnswer:
    """Have the application carry out a request of a peer at this address.

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

    pieces = application(_environ(request, _body(request), address), start_response)
    code, _, reason = status.partition(" ")
    return HttpAnswer(int(code), headers, _closing(pieces), reason)


def _body(request: HttpRequest) -> bytes:
    body = bytearray()
    while data := request.body.read():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise HttpRefusal(413, f"the body may have at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _environ(request: HttpRequest, body: bytes, address: str) -> WSGIEnvironment:
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.decode("latin-1"),
        "QUERY_STRING": request.query,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
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
