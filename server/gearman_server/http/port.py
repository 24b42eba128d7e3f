"""An HTTP port: accepts connections as other ports do, and serves each with gevent's WSGI handler in a greenlet.

It is for rare requests, jobs by HTTP and metrics, and knows nothing of an application's answers.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import gevent
import gevent.socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from gearman_server.edge.acceptor import Acceptor
from gearman_server.edge.connection import Transport
from gearman_server.jobs.access import AccessList, Identity
from gearman_server.log import logger
from gearman_server.loop import Loop

#: How long a peer may be silent, between requests or within one, and how long its headers may take in all.
SILENCE_S: Final = 60.0
HEADERS_S: Final = 20.0
#: How many bytes are still read, and for how long, from a peer whose request was refused, so that it can read why.
LINGER_BYTES: Final = 1 << 20
LINGER_S: Final = 2.0

_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The peers that may connect (None: all), and how many at once."""

    allowed: AccessList | None = None
    max_connections: int = 1000


class HttpPort:
    """Serves one application on listening sockets."""

    def __init__(self, application: Application, loop: Loop, settings: HttpSettings) -> None:
        self._acceptor = Acceptor(loop, settings.allowed, self._adopt)
        self._greenlets = Pool(settings.max_connections)
        # It never listens; it only holds the attributes that a handler asks for.
        self._server = WSGIServer(
            ("127.0.0.1", 0), application, handler_class=HttpHandler, log=None, error_log=_InfoLog()
        )

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these bound and listening sockets."""
        self._acceptor.listen(sockets, None)

    def close_listeners(self) -> None:
        """Accept no more connections; requests that are being served go on."""
        self._acceptor.close()

    def drain(self, patience_s: float) -> None:
        """Return when no peer is being served, or when the time is over."""
        self._greenlets.join(patience_s)

    def close(self) -> None:
        """End everything at once."""
        self.close_listeners()
        self._greenlets.kill(block=False)

    def _adopt(self, stream: Transport, identity: Identity) -> None:
        assert isinstance(stream, socket.socket)
        if self._greenlets.full():
            with contextlib.suppress(OSError):
                stream.send(_BUSY)
            stream.close()
            return
        connected = gevent.socket.socket(stream.family, stream.type, stream.proto, fileno=stream.detach())
        connected.settimeout(SILENCE_S)
        self._greenlets.spawn(self._serve, connected, identity)

    def _serve(self, connected: Any, identity: Identity) -> None:
        try:
            HttpHandler(connected, (identity.address, identity.port), self._server, identity).handle()
        except OSError as error:
            logger.info("HTTP connection %s: lost: %s", identity, error.strerror or error)
        except Exception:  # noqa: BLE001 - the loop's boundary
            logger.exception("HTTP connection %s: internal error, the connection is closed", identity)
        finally:
            connected.close()


class HttpHandler(WSGIHandler):  # type: ignore[misc]
    """gevent's handler, stricter about requests, and without tracebacks for malformed ones."""

    def __init__(self, connected: Any, address: tuple[str, int], server: WSGIServer, identity: Identity) -> None:
        super().__init__(connected, address, server)
        self._identity = identity

    def read_request(self, raw_requestline: str) -> bool:
        """Do as the base class does. A ValueError means that this is no valid request."""
        with gevent.Timeout(HEADERS_S, ValueError("the headers took too long")):
            is_read: bool = super().read_request(raw_requestline)
        if self.request_version == "HTTP/0.9":
            raise ValueError("the request line names no version")
        lengths = set(self.headers.get_all("content-length", []))
        if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
            raise ValueError("the Content-Length is no number")
        return is_read

    def _handle_client_error(self, ex: BaseException) -> tuple[str, bytes]:
        logger.info("HTTP connection %s: no valid request: %s", self._identity, " ".join(str(ex).split()))
        return "400", _BAD_REQUEST

    def get_environ(self) -> Environ:
        """The request, with the connection that it came on."""
        environ: Environ = super().get_environ()
        environ["gearman.connection"] = self
        environ["gearman.identity"] = self._identity
        return environ

    def refuse_body(self) -> None:
        """Don't read the rest of the request: the connection ends with the answer."""
        self.close_connection = True
        self.wsgi_input = _Unwanted(self.socket)

    def log_request(self) -> None:
        """Does nothing: the broker's events are logged."""


class _Unwanted:
    """Replaces a body that was refused."""

    def __init__(self, connected: Any) -> None:
        self._connected = connected

    def _discard(self) -> None:
        """Let the peer read the answer: a close with unread input would reset the connection and destroy the answer."""
        left_bytes = LINGER_BYTES
        with contextlib.suppress(OSError), gevent.Timeout(LINGER_S, False):
            self._connected.shutdown(socket.SHUT_WR)
            while left_bytes > 0 and (data := self._connected.recv(65536)):
                left_bytes -= len(data)


class _InfoLog:
    """Logs the messages of gevent's handler about peers."""

    def write(self, text: str) -> None:
        """Log one line."""
        if text.strip():
            logger.info("HTTP: %s", " ".join(text.split()))

    def flush(self) -> None:
        """Does nothing: no text is buffered."""


def answer(
    start_response: StartResponse, status: str, body: bytes = b"", *headers: tuple[str, str], is_head: bool = False
) -> list[bytes]:
    """Give a whole answer, plain text unless the headers say otherwise; without the body if the method is HEAD."""
    given = list(headers)
    if not any(name == "Content-Type" for name, _ in headers):
        given.append(("Content-Type", "text/plain; charset=utf-8"))
    start_response(status, [*given, ("Content-Length", str(len(body)))])
    return [] if is_head else [body]
