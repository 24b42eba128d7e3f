"""An HTTP port: accepts connections as other ports do, and serves each in a greenlet.

It is for rare requests, jobs by HTTP and metrics, and knows nothing of an application's answers.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import gevent
import gevent.socket
from gevent.lock import Semaphore
from gevent.pool import Group

from gearman_process.http.bounds import BodyMemory, HttpBounds
from gearman_process.http.connection import HttpConnection
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest
from gearman_process.http.places import Places
from gearman_process.http.serving import serve
from gearman_server.edge.acceptor import Acceptor
from gearman_server.edge.connection import Transport
from gearman_server.jobs.access import AccessList, Identity
from gearman_server.log import logger
from gearman_server.loop import Loop

_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The peers that may connect (None: all), and the bounds: connections, and the memory for bodies of all of them."""

    allowed: AccessList | None = None
    max_connections: int = 1000
    body_memory_bytes: int = 64 * 1024 * 1024
    bounds: HttpBounds = field(default_factory=HttpBounds)


class HttpPeer:
    """One connection to the port."""

    def __init__(self, stream: gevent.socket.socket, identity: Identity, connection: HttpConnection) -> None:
        self.stream = stream
        self.identity = identity
        self.connection = connection
        #: Its greenlet ends, and there will be no answer.
        self.end: Callable[[], None] = connection.abandon

    @property
    def address(self) -> str:
        """Its host."""
        return self.identity.address

    @property
    def reading_since(self) -> float | None:
        """Since when it has owed a whole request."""
        return self.connection.reading_since

    def make_room(self) -> None:
        """End it for another one."""
        logger.info("HTTP connection %s: closed, its request is incomplete and others need its place", self.identity)
        self.connection.abandon()
        self.end()


#: Carries a request out; raises HttpRefusal.
Application = Callable[[HttpRequest, HttpPeer], HttpAnswer]


class HttpPort:
    """Serves one application on listening sockets."""

    def __init__(self, application: Application, loop: Loop, settings: HttpSettings) -> None:
        self._application = application
        self._acceptor = Acceptor(loop, settings.allowed, self._adopt)
        self._bounds = settings.bounds
        self._memory = BodyMemory(settings.body_memory_bytes)
        self._places = Places(settings.max_connections)
        self._turns = Semaphore()
        self._greenlets = Group()

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
        connected = gevent.socket.socket(stream.family, stream.type, stream.proto, fileno=stream.detach())
        connection = HttpConnection(connected, self._bounds, self._memory, self._wait_for_turn)
        peer = HttpPeer(connected, identity, connection)
        if not self._places.enter(peer):
            with contextlib.suppress(OSError):
                connected.settimeout(0)
                connected.send(_BUSY)
            connected.close()
            return
        greenlet = self._greenlets.spawn(self._serve, peer)
        peer.end = lambda: greenlet.kill(block=False)

    def _wait_for_turn(self) -> None:
        """One connection after the other has a turn, and between two turns the loop looks at all sockets."""
        with self._turns:
            # sleep(0) is a callback, and gevent runs fifty of them before it looks at the sockets again.
            gevent.sleep(1e-6)

    def _serve(self, peer: HttpPeer) -> None:
        def refuse(refusal: HttpRefusal) -> HttpAnswer:
            logger.info("HTTP connection %s: no valid request: %s", peer.identity, _one_line(refusal))
            return refusal.answer

        try:
            serve(peer.connection, lambda request: self._application(request, peer), refuse)
        except OSError as error:
            logger.info("HTTP connection %s: lost: %s", peer.identity, error.strerror or error)
        except Exception:  # noqa: BLE001 - the loop's boundary
            logger.exception("HTTP connection %s: internal error, the connection is closed", peer.identity)
        finally:
            self._places.leave(peer)


def _one_line(error: Exception) -> str:
    """A peer chose some of this text: it must not move the cursor of the terminal that shows the log."""
    text = str(error)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
