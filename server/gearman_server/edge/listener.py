"""Connects the broker with its connections, the clock and the event loop. Access is the acceptor's business.

Everything runs in callbacks of gevent's loop. The broker is called only from here, and nothing here decides about jobs.

Nobody stops all others: work that would take long is done in turns of at most a millisecond, `TURNS_S` in each pass, by
all who have such work. Requests that have just come are carried out before.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.errors import ProtocolError
from gearman_client.packet import Packet, PacketType
from gearman_server.broker import Broker
from gearman_server.edge.acceptor import Acceptor
from gearman_server.edge.connection import Connection, Transport
from gearman_server.edge.hang_ups import HangUps
from gearman_server.jobs.access import Identity
from gearman_server.jobs.session import Session
from gearman_server.log import logger

if TYPE_CHECKING:
    from gearman_server.edge.settings import ListenerSettings
    from gearman_server.edge.tls import TlsContext
    from gearman_server.loop import Loop


#: The time of each pass in which work is done that has to wait for its turn.
TURNS_S: Final = 0.002
#: The time after which a pass is late: a crowd of connections can be one peer too.
PASS_S: Final = 0.005
#: More packets of one read may take long.
FEW_PACKETS: Final = 4
#: A server that is ending waits for so long for the store, so that submitters hear of their last jobs.
SETTLING_S: Final = 2.0
_LINE, _OPTION = int(PacketType.TEXT_LINE), int(PacketType.OPTION_REQ)
#: Connections that get packets through another's request: so many are served at once, the others in turns.
TOLD_AT_ONCE: Final = 200


class Endpoint(Protocol):
    """The owner of a session, as far as the listener knows it: a connection, or an HTTP request."""

    session: Session

    @property
    def has_unsent(self) -> bool:
        """Whether something is ready for the peer, but not yet sent."""

    def flush(self) -> None:
        """Send the session's out-buffer."""

    def close(self, reason: str) -> None:
        """End it, and have the listener forget it."""


class Listener:
    """Accepts connections, feeds the broker and sends its replies."""

    def __init__(self, broker: Broker, loop: Loop, settings: ListenerSettings) -> None:
        self.settings = settings
        self.loop = loop
        self._broker = broker
        self._receive = broker.receive
        self._settle = broker.end_pass
        self._touched = broker.touched
        #: The endpoints with requests in this loop pass.
        self._asked: list[Endpoint] = []
        self._connections: dict[Session, Endpoint] = {}
        tell_trouble = partial(broker.troubles.note, "connections")
        self._acceptor = Acceptor(loop, settings.allowed, self.adopt, tell_trouble, self.queue)
        self._when_idle: Callable[[], None] | None = None
        #: Until when replies that wait for the store are waited for before the end.
        self._settled_by = 0.0
        self._turns: deque[Callable[[], None]] = deque()
        self._chores = broker.chores
        self._hang_ups = HangUps()
        broker.long_changes.peer_has_left = self._hang_ups.has_left
        self._has_chore_turn = False
        #: Until when packets of this pass that could wait are carried out at once; None: there were none yet.
        self._has_time_until: float | None = None
        #: When this pass is late; None: there were no packets yet.
        self._is_late_at: float | None = None
        #: Whether this pass has taken so long that packets which may take long have to wait for their turn.
        self.is_late = False
        #: What the sockets of all connections did not take at once.
        self.unread_bytes = 0
        # It runs once per loop pass, before the loop would wait, so the replies of one pass leave together.
        self._pass_watcher = loop.prepare()
        self._pass_watcher.start(self._end_pass)
        self._nudge_timer = loop.timer(0)
        self._tick_timer = loop.timer(0)
        self._tick_due: float | None = None

    def listen(self, sockets: Sequence[socket.socket], tls: TlsContext | None = None) -> None:
        """Accept connections on these bound and listening sockets; with a TLS context, encrypted ones."""
        self._acceptor.listen(sockets, tls)

    def adopt(self, stream: Transport, identity: Identity) -> Connection:
        """Give an accepted connection, whose peer is known, a session with the broker."""
        session = self._broker.connect(identity, stream.fileno())
        connection = self._connections[session] = Connection(stream, session, self)
        return connection

    def register(self, endpoint: Endpoint, identity: Identity, number: int) -> Session:
        """Give an endpoint that is not a connection a session with the broker."""
        session = self._broker.connect(identity, number)
        self._connections[session] = endpoint
        return session

    # --- for connections

    def dispatch(self, connection: Endpoint, packets: list[Packet]) -> None:
        """Have the broker carry out these packets, or let them wait for their turn."""
        now = monotonic()
        if self._is_late_at is None:
            self._is_late_at = now + PASS_S
        elif now > self._is_late_at:
            self.is_late = True
        if self.is_late and _may_take_long(packets):
            connection.session.set_aside(packets)
        else:
            self._receive(connection.session, packets, now)
        self._asked.append(connection)

    def dispatch_in_parts(self, connection: Connection, packets: list[Packet]) -> None:
        """Have the broker carry out very many packets; those for which there is no time wait for their turn."""
        session = connection.session
        session.set_aside(packets)
        self._asked.append(connection)
        while session.can_go_on and self.has_time():
            self.go_on(connection)
            connection.flush_if_long()

    def go_on(self, connection: Endpoint) -> None:
        """Have the broker carry out some of the packets that have to wait."""
        self._broker.go_on(connection.session, monotonic())
        self._asked.append(connection)

    def has_time(self) -> bool:
        """Whether packets that could wait may be carried out now: not if such packets took long in this pass."""
        now = monotonic()
        if self._has_time_until is None:
            self._has_time_until = now + TURNS_S
        return now < self._has_time_until

    def queue(self, turn: Callable[[], None]) -> None:
        """Call `turn`, which takes a millisecond at most, when those before it have had theirs."""
        self._turns.append(turn)

    def violation(self, connection: Connection, violation: ProtocolError) -> None:
        """Have the broker end the session of a peer that breaks the protocol."""
        self._broker.end_for_violation(connection.session, b"INVALID_PACKET", str(violation))
        self._asked.append(connection)

    def forget(self, connection: Endpoint, reason: str) -> None:
        """End the connection's session."""
        self._hang_ups.forget(connection.session)
        if self._connections.pop(connection.session, None) is not None:
            self._broker.note_time(monotonic())  # its jobs wait again from this time on
            self._broker.disconnect(connection.session, reason)

    def flush_soon(self) -> None:
        """Start a pass soon, for callers in a greenlet: it runs between passes, and replies would wait for an event."""
        self._nudge_timer.start(_nothing)

    # --- once per loop pass

    def _end_pass(self) -> None:
        """The only end of a pass: replies are sent, then those have their turns who wait for one."""
        self._send_replies()
        self._has_time_until = self._is_late_at = None
        self.is_late = False
        if self._turns or self._chores:
            self._take_turns()
            self._send_replies()
            if self._turns or self._chores:
                self.flush_soon()
        if self._broker.next_due != self._tick_due:
            self._arm_tick()
        if self._when_idle is not None and self._is_idle():
            when_idle, self._when_idle = self._when_idle, None
            when_idle()

    def _send_replies(self) -> None:
        """The broker settles open matters and hands the pass's changes to the store, then the out-buffers are sent.
        This repeats until nothing is left, since a peer that could not be reached may have left jobs behind."""
        self._settle()
        while self._touched or self._asked:
            self._flush()
            self._settle()

    def _take_turns(self) -> None:
        until = monotonic() + TURNS_S
        if self._chores and not self._has_chore_turn:
            self._has_chore_turn = True
            self._turns.append(self._do_chore)
        while self._turns:
            try:
                self._turns.popleft()()
            except Exception:  # noqa: BLE001 - the loop's boundary: the others have their turns
                logger.exception("internal error in the turn of a connection")
            if monotonic() >= until:
                break

    def _do_chore(self) -> None:
        try:
            self._broker.do_chore(monotonic())
        except Exception:  # noqa: BLE001 - the loop's boundary
            logger.exception("internal error in long work, which is given up")
        self._has_chore_turn = bool(self._chores)
        if self._has_chore_turn:
            self._turns.append(self._do_chore)

    def _flush(self) -> None:
        touched, connections = self._touched, self._connections
        # Answers leave first, in the order of the requests: those peers are back at work while the others are told.
        endpoints = [connections[session] for session in touched if session in connections]
        if len(endpoints) > TOLD_AT_ONCE:
            self._turns.extend(partial(self._flush_one, endpoint) for endpoint in endpoints[TOLD_AT_ONCE:])
            del endpoints[TOLD_AT_ONCE:]
        endpoints = self._asked + endpoints
        touched.clear()
        self._asked = []
        for endpoint in endpoints:
            try:
                endpoint.flush()
            except Exception:  # noqa: BLE001 - the loop's boundary
                self._close_broken(endpoint)

    def _flush_one(self, endpoint: Endpoint) -> None:
        try:
            endpoint.flush()
        except Exception:  # noqa: BLE001 - the loop's boundary
            self._close_broken(endpoint)

    def _close_broken(self, endpoint: Endpoint) -> None:
        logger.exception("connection %s: internal error, the connection is closed", endpoint.session.identity)
        endpoint.close("internal error")

    def _is_idle(self) -> bool:
        """Whether no job runs and everything is sent, also what waits for the store."""
        if self._broker.has_running_jobs or any(connection.has_unsent for connection in self._connections.values()):
            return False
        return monotonic() > self._settled_by or not any(session.withheld_bytes for session in self._connections)

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
        self._acceptor.close()

    def finish(self, when_idle: Callable[[], None]) -> None:
        """Start no more jobs; close connections that neither run a job nor wait for a running one; call back when no
        job is running.

        Servers of the cluster keep theirs: without it they would find a port that refuses, and take over what runs.
        """
        self._end_pass()
        self.close_listeners()
        self._broker.stop_assigning()
        for session, connection in list(self._connections.items()):
            if isinstance(connection, Connection) and not session.is_halted:
                connection.on_readable()  # what has come already is refused in words
                self._end_pass()
            if session.is_peer or session.assigned or session.withheld_bytes:
                continue
            if not any(job.worker is not None for job in session.listening):
                connection.close("the server is ending")
        self._when_idle, self._settled_by = when_idle, monotonic() + SETTLING_S
        self.flush_soon()

    def hold_links(self) -> list[int]:
        """Descriptors that keep the connections of other servers of the cluster from ending when this is closed. The
        caller closes them once the store has all that is ours: whoever finds our port closed takes over what it has."""
        return [os.dup(session.number) for session in self._connections if session.is_peer]

    def close(self) -> None:
        """Close everything at once."""
        self.close_listeners()
        for connection in list(self._connections.values()):
            connection.close("the server is ending")
        self._chores.are_last = True
        while self._chores:
            self._do_chore()
        self._pass_watcher.stop()
        self._tick_timer.stop()
        self._nudge_timer.stop()


def _may_take_long(packets: list[Packet]) -> bool:
    return len(packets) > FEW_PACKETS or any(packet_type in (_LINE, _OPTION) for packet_type, _ in packets)


def _nothing() -> None:
    """For a timer that only has to wake the loop."""
