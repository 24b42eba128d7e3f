"""Accepts connections: checks the peer's identity, its access and its TLS handshake before the broker learns of it.

Nothing here reads a packet. When this process has no more descriptors, new connections wait in the kernel's backlog.
"""

from __future__ import annotations

import errno
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gearman_server.edge.tls import TlsStream
from gearman_server.edge.tls_handshake import Handshake
from gearman_server.jobs.access import AccessList, Identity
from gearman_server.log import SeldomLog, logger
from gearman_server.loop import READABLE

if TYPE_CHECKING:
    from gearman_server.edge.connection import Connection, Transport
    from gearman_server.edge.tls import TlsContext
    from gearman_server.loop import Loop, Timer, Watcher

ACCEPTS_PER_PASS: Final = 64
#: The pause between attempts to accept when this process has no descriptor left.
NO_DESCRIPTORS_PAUSE_S: Final = 0.1
#: How often the log says at most that no descriptor is left, or that a peer was refused.
SAY_EVERY_S: Final = 60.0

_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNIX_CREDENTIALS: Final = struct.Struct("3i")
_UNKNOWN_UID: Final = -1

#: Makes a connection of an accepted stream whose peer is known.
Adopt = Callable[["Transport", Identity], "Connection | None"]
#: Calls what it is handed, later.
Queue = Callable[[Callable[[], None]], None]


class Acceptor:
    """Accepts on its listening sockets, and hands over the connections whose peers are allowed."""

    def __init__(
        self,
        loop: Loop,
        allowed: AccessList | None,
        adopt: Adopt,
        tell_trouble: Callable[[str | None], None] = lambda _text: None,
        queue: Queue = lambda turn: turn(),
    ) -> None:
        """`tell_trouble` is called when no more connections can be accepted, and with None when they can again. `queue`
        calls the steps of TLS handshakes when others have had their turns."""
        self._queue = queue
        self._tell_trouble = tell_trouble
        self._has_trouble = False
        self._loop = loop
        self._allowed = allowed
        self._adopt = adopt
        self._watchers: list[tuple[Watcher, Callable[[], None]]] = []
        self._sockets: list[socket.socket] = []
        self._handshakes: set[Handshake] = set()
        self._pause_timer: Timer | None = None
        self._no_descriptors_log = SeldomLog(SAY_EVERY_S)
        self._refused_log = SeldomLog(SAY_EVERY_S)

    def listen(self, sockets: Sequence[socket.socket], tls: TlsContext | None) -> None:
        """Accept on these bound and listening sockets; with `tls`, peers must speak TLS."""
        for listening in sockets:
            listening.setblocking(False)
            watcher = self._loop.io(listening.fileno(), READABLE)
            react = partial(self._on_acceptable, listening, tls)
            watcher.start(react)
            self._sockets.append(listening)
            self._watchers.append((watcher, react))

    def close(self) -> None:
        """Accept no more: free the ports, and close connections whose handshake is not complete."""
        self._end_pause()
        for watcher, _ in self._watchers:
            watcher.stop()
            watcher.close()
        for listening in self._sockets:
            listening.close()
        self._watchers.clear()
        self._sockets.clear()
        for handshake in list(self._handshakes):
            handshake.abort("the server is ending")

    # --- one connection

    def _on_acceptable(self, listening: socket.socket, tls: TlsContext | None) -> None:
        for _ in range(ACCEPTS_PER_PASS):
            try:
                connected, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            if self._has_trouble:
                self._has_trouble = False
                self._tell_trouble(None)
            try:
                self._take(connected, address, tls)
            except Exception as error:  # noqa: BLE001 - the loop's boundary: the next connection is accepted
                logger.error("connection from %s lost while it was accepted: %s", address or "unix", error)
                connected.close()

    def _take(self, connected: socket.socket, address: Any, tls: TlsContext | None) -> None:
        connected.setblocking(False)
        identity = _identity(connected, address)
        if self._allowed is not None and not self._allowed.allows(identity):
            self._refused_log.warning("connection %s: closed, --allow does not name its address", identity)
            connected.close()
            return
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if tls is None:
            self._adopt(connected, identity)
        else:
            stream = TlsStream(connected, tls.context)
            self._handshakes.add(Handshake(stream, identity, self._loop, self._queue, self._handshake_ended))

    def _handshake_ended(self, handshake: Handshake, failure: Exception | None) -> None:
        self._handshakes.discard(handshake)
        if failure is not None:
            logger.info("connection %s: closed, its TLS handshake failed: %s", handshake.identity, _reason(failure))
            handshake.stream.close()
            return
        connection = self._adopt(handshake.stream, handshake.identity)
        # The client's first request can have come with the end of its handshake; the socket does not announce it then.
        if connection is not None:
            connection.on_readable()

    # --- out of descriptors

    def _accept_failed(self, failure: OSError) -> None:
        if failure.errno not in _OUT_OF_RESOURCES:
            logger.error("accepting a connection failed: %s", failure)
            return
        self._no_descriptors_log.error(
            "no more connections can be accepted for now, they wait: %s; allow more with -f", failure.strerror
        )
        if not self._has_trouble:
            self._has_trouble = True
            self._tell_trouble(f"no more connections can be accepted: {failure.strerror}")
        if self._pause_timer is None:
            for watcher, _ in self._watchers:
                watcher.stop()
            self._pause_timer = self._loop.timer(NO_DESCRIPTORS_PAUSE_S)
            self._pause_timer.start(self._accept_again)

    def _accept_again(self) -> None:
        self._end_pause()
        for watcher, react in self._watchers:
            watcher.start(react)

    def _end_pause(self) -> None:
        if self._pause_timer is not None:
            self._pause_timer.close()
            self._pause_timer = None


def _identity(connected: socket.socket, address: Any) -> Identity:
    """The peer's identity. A Unix peer is identified by its user; its process id replaces the port."""
    if connected.family != socket.AF_UNIX:
        return Identity(address[0], address[1])
    if not hasattr(socket, "SO_PEERCRED"):
        return Identity("unix", unix_uid=_UNKNOWN_UID)
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UNIX_CREDENTIALS.size)
    pid, uid, _gid = _UNIX_CREDENTIALS.unpack(credentials)
    return Identity("unix", pid, unix_uid=uid)


def _reason(failure: Exception) -> str:
    if isinstance(failure, ssl.SSLError):
        return getattr(failure, "verify_message", "") or failure.reason or str(failure)
    return getattr(failure, "strerror", None) or str(failure)
