"""The edge: listening sockets, connections, the clock and the event loop around the broker.

Everything runs in callbacks of gevent's loop. The broker is called only from here, and nothing here decides about jobs.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from gearman_client.errors import ProtocolError
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES, Packet
from gearman_server.broker import Broker
from gearman_server.connection import Connection
from gearman_server.log import logger
from gearman_server.session import Identity, Session

ACCEPTS_PER_PASS: Final = 64
#: How long new connections wait when this process has no descriptor left for them.
NO_DESCRIPTORS_PAUSE_S: Final = 0.1
DEFAULT_MAX_BACKLOG_BYTES: Final = 256 * 1024 * 1024

_READABLE: Final = 1
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Bounds of a connection."""

    max_packet_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_backlog_bytes: int = DEFAULT_MAX_BACKLOG_BYTES


class Listener:
    """Accepts connections, feeds the broker and sends what it leaves behind."""

    def __init__(self, broker: Broker, loop: Any, settings: ListenerSettings) -> None:
        self.settings = settings
        self.loop = loop
        self._broker = broker
        self._touched = broker.touched
        self._connections: dict[Session, Connection] = {}
        self._sockets: list[socket.socket] = []
        self._accept_watchers: list[Any] = []
        self._is_paused = False
        self._said_no_descriptors = False
        self._when_idle: Callable[[], None] | None = None
        # Runs once per loop pass, before the loop would wait: everything dispatched in this pass leaves together.
        self._pass_watcher = loop.prepare()
        self._pass_watcher.start(self._end_pass)
        self._tick_timer = loop.timer(0)
        self._tick_due: float | None = None

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on these bound and listening sockets."""
        for listening in sockets:
            listening.setblocking(False)
            watcher = self.loop.io(listening.fileno(), _READABLE)
            watcher.start(self._on_acceptable, listening)
            self._sockets.append(listening)
            self._accept_watchers.append(watcher)

    # --- accepting

    def _on_acceptable(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_PASS):
            try:
                connected, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:
                self._accept_failed(failure)
                return
            self._said_no_descriptors = False
            try:
                self._open(connected, address)
            except Exception as failure:  # noqa: BLE001 - the loop's boundary: the next connection is accepted
                logger.error("connection from %s lost while it was accepted: %s", address, failure)
                connected.close()

    def _open(self, connected: socket.socket, address: Any) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        session = self._broker.connect(Identity(address[0], address[1]), connected.fileno())
        self._connections[session] = Connection(connected, session, self)

    def _accept_failed(self, failure: OSError) -> None:
        if failure.errno not in _OUT_OF_RESOURCES:
            logger.error("accepting a connection failed: %s", failure)
            return
        if not self._said_no_descriptors:
            self._said_no_descriptors = True
            logger.error("no more connections can be accepted for now, they wait: %s", failure.strerror)
        if not self._is_paused:
            self._is_paused = True
            for watcher in self._accept_watchers:
                watcher.stop()
            timer = self.loop.timer(NO_DESCRIPTORS_PAUSE_S)
            timer.start(self._accept_again, timer)

    def _accept_again(self, timer: Any) -> None:
        timer.close()
        self._is_paused = False
        for watcher, listening in zip(self._accept_watchers, self._sockets, strict=True):
            watcher.start(self._on_acceptable, listening)

    # --- what connections call

    def dispatch(self, connection: Connection, packets: list[Packet]) -> None:
        """Have the broker carry out what was read."""
        session = connection.session
        self._broker.receive(session, packets, monotonic())
        self._touched.add(session)

    def violation(self, connection: Connection, violation: ProtocolError) -> None:
        """What the peer sends can't be the protocol."""
        self._broker.end_for_violation(connection.session, b"INVALID_PACKET", str(violation))
        self._touched.add(connection.session)

    def forget(self, connection: Connection, reason: str) -> None:
        """The connection has no session any more."""
        if self._connections.pop(connection.session, None) is not None:
            self._broker.disconnect(connection.session, reason)

    # --- once per loop pass

    def _end_pass(self) -> None:
        touched = self._touched
        while touched:
            session = touched.pop()
            connection = self._connections.get(session)
            if connection is not None:
                try:
                    connection.flush()
                except Exception:  # noqa: BLE001 - the loop's boundary
                    logger.exception("connection %s: internal error, the connection is closed", session.identity)
                    connection.close("internal error")
        if self._broker.next_due != self._tick_due:
            self._arm_tick()
        if self._when_idle is not None and self._is_idle():
            when_idle, self._when_idle = self._when_idle, None
            when_idle()

    def _is_idle(self) -> bool:
        """Whether no job runs and everything is sent."""
        unsent = any(connection.has_unsent for connection in self._connections.values())
        return not unsent and not self._broker.has_running_jobs

    def _arm_tick(self) -> None:
        self._tick_due = self._broker.next_due
        self._tick_timer.stop()
        if self._tick_due is not None:
            self._tick_timer.close()
            self._tick_timer = self.loop.timer(max(0.0, self._tick_due - monotonic()))
            self._tick_timer.start(self._on_tick)

    def _on_tick(self) -> None:
        self._tick_due = None
        self._broker.tick(monotonic())

    # --- the end

    def close_listeners(self) -> None:
        """Accept no more connections; the port is free from now on."""
        for watcher in self._accept_watchers:
            watcher.stop()
            watcher.close()
        for listening in self._sockets:
            listening.close()
        self._accept_watchers.clear()
        self._sockets.clear()

    def finish(self, when_idle: Callable[[], None]) -> None:
        """Start no more jobs; drop who neither runs a job nor waits for a running one; call back when none runs."""
        self._end_pass()
        self.close_listeners()
        self._broker.stop_assigning()
        for session, connection in list(self._connections.items()):
            if not session.assigned and not any(job.worker is not None for job in session.listening):
                connection.close("the server is ending")
        self._when_idle = when_idle

    def close(self) -> None:
        """Close everything at once."""
        self.close_listeners()
        for connection in list(self._connections.values()):
            connection.close("the server is ending")
        self._pass_watcher.stop()
        self._tick_timer.stop()
