"""Serves the control API's connections, each in a greenlet, with a bound on their number and on their times."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

from gearman_manager.access.caller import Peer
from gearman_manager.access.proxy import plain_address
from gearman_manager.access.refusals import refusal_as_problem
from gearman_manager.control.wsgi import MAX_BODY_BYTES
from gearman_process.http.bounds import BodyMemory, HttpBounds
from gearman_process.http.connection import HttpConnection
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest
from gearman_process.http.places import Places
from gearman_process.http.serving import serve

_log = logging.getLogger("control")
_BOUNDS: Final = HttpBounds(idle_s=30.0, head_s=5.0, request_s=30.0)
_UNIX: Final = "the control socket"
#: Bodies that may be received at once, together with their small beginnings, which are not counted.
_BODIES: Final = 8

#: Process, user and group, as in unix(7).
_CREDENTIALS: Final = struct.Struct("3i")

#: Carries out a request of a peer.
ControlApplication = Callable[[HttpRequest, Peer], HttpAnswer]


class ControlConnections(StreamServer):  # type: ignore[misc]
    """Accepts on a listening socket, or on an address, and serves an application."""

    def __init__(self, listener: Any, application: ControlApplication, most: int) -> None:
        super().__init__(listener, self._serve, spawn=Pool())
        self._application = application
        self._places = Places(most)
        self._memory = BodyMemory(_BODIES * MAX_BODY_BYTES)

    def _serve(self, stream: socket.socket, peer: Any) -> None:
        address = plain_address(peer[0]) if isinstance(peer, tuple) else _UNIX
        known = Peer(address, None if isinstance(peer, tuple) else _uid_of(stream))
        visitor = _Visitor(HttpConnection(stream, _BOUNDS, self._memory, _let_others_run), address)
        if not self._places.enter(visitor):
            _log.warning("a connection from %s was refused: there are too many", address)
            stream.close()
            return
        try:
            serve(visitor.connection, lambda request: self._answer(request, known), refusal_as_problem)
        except OSError:
            pass  # the peer has gone, or does not read
        except Exception:  # noqa: BLE001 - the loop's boundary
            _log.exception("a request from %s failed", address)
        finally:
            self._places.leave(visitor)

    def _answer(self, request: HttpRequest, peer: Peer) -> HttpAnswer:
        try:
            return self._application(request, peer)
        except HttpRefusal as refusal:
            return refusal_as_problem(refusal)


class _Visitor:
    """One connection, whose greenlet is the current one."""

    def __init__(self, connection: HttpConnection, address: str) -> None:
        self.connection = connection
        self.address = address
        self._greenlet = gevent.getcurrent()

    @property
    def reading_since(self) -> float | None:
        """Since when the peer has owed a whole request."""
        return self.connection.reading_since

    def make_room(self) -> None:
        """End it for another one."""
        _log.info(
            "a connection from %s is closed: its request is incomplete, and another needs its place", self.address
        )
        self.connection.abandon()
        self._greenlet.kill(block=False)


def _uid_of(stream: socket.socket) -> int:
    """The user of the process that has connected, as the kernel knows it."""
    _pid, uid, _gid = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _let_others_run() -> None:
    gevent.sleep(1e-6)
