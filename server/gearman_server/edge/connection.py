"""The edge of one connection: bytes read, bytes written, on event-loop watchers with plain callbacks.

There is no greenlet per connection: switching into one costs twice the CPU per job (measured). The packets of a read
are dispatched before anything is written; replies are joined and written once per loop pass, when the listener flushes.
The writable watcher runs only while the socket is full. Packets that would take long, and the pieces of a long answer,
wait for the connection's next turn (see the listener); until then nothing more is read from its peer.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.packet import REQUEST_MAGIC, Packet, PacketParser
from gearman_server.jobs.session import PACKETS_AT_ONCE
from gearman_server.log import logger
from gearman_server.loop import READABLE, WRITABLE

if TYPE_CHECKING:
    from gearman_client.errors import ProtocolError
    from gearman_server.edge.settings import ListenerSettings
    from gearman_server.jobs.session import Session
    from gearman_server.loop import Loop, Timer, Watcher

#: Bytes of one read: more than a thousand of the smallest packets.
READ_BYTES: Final = 1 << 14
#: The same, after a read that completed no packet: a large one is on its way.
LARGE_READ_BYTES: Final = 1 << 16
#: The same, in a pass that is late.
SHORT_READ_BYTES: Final = 1 << 10
#: Bytes joined for one write; more are sent piece by piece, so that joining can't double a big backlog.
JOIN_BYTES: Final = 1 << 18
#: Bytes that one connection may write in one loop pass, so that a fast reader of a huge result starves nobody.
WRITE_BUDGET_BYTES: Final = 1 << 20
#: When all peers together leave so much unread, those that leave more than a modest part are not read from meanwhile.
#: A client that sends a million requests before it reads an answer comes through.
MUCH_UNREAD_BYTES: Final = 48 << 20
MODEST_UNREAD_BYTES: Final = 1 << 18
#: How long, and for how many bytes, a refused peer may go on sending while it reads its ERROR packet.
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 1 << 20


class Transport(Protocol):
    """A connected, non-blocking stream: a socket, or TLS over one. `recv` returns everything that it has read."""

    def recv(self, size: int, /) -> bytes:
        """The bytes that have arrived; b"" at the end. BlockingIOError when there are none."""

    def send(self, data: bytes | memoryview, /) -> int:
        """The number of bytes taken. BlockingIOError when none can be; the same bytes are then tried again."""

    def fileno(self) -> int:
        """The descriptor for the event loop to watch."""

    def shutdown(self, how: int, /) -> None:
        """Do as a socket does."""

    def close(self) -> None:
        """Do as a socket does."""


class Dispatcher(Protocol):
    """The listener, as far as its connections know it."""

    settings: ListenerSettings
    loop: Loop
    #: Whether this pass has taken so long that packets which may take long have to wait for their turn.
    is_late: bool
    #: What the sockets of all connections did not take at once.
    unread_bytes: int

    def dispatch(self, connection: Connection, packets: list[Packet], /) -> None:
        """Have the broker carry out these packets, or let them wait for their turn."""

    def dispatch_in_parts(self, connection: Connection, packets: list[Packet], /) -> None:
        """Have the broker carry out very many packets."""

    def go_on(self, connection: Connection, /) -> None:
        """Have the broker carry out some of the packets that have to wait."""

    def queue(self, turn: Callable[[], None], /) -> None:
        """Call `turn` when those before it have had theirs."""

    def violation(self, connection: Connection, violation: ProtocolError, /) -> None:
        """Have the broker end the session of a peer that breaks the protocol."""

    def forget(self, connection: Connection, reason: str, /) -> None:
        """End the connection's session."""


class Connection:
    """One accepted stream and its session."""

    __slots__ = (
        "_awaits_turn",
        "_counted_bytes",
        "_dispatch",
        "_feed",
        "_is_held_back",
        "_linger_bytes",
        "_linger_timer",
        "_listener",
        "_parser",
        "_read_bytes",
        "_read_watcher",
        "_receive",
        "_send",
        "_socket",
        "_waiting",
        "_waiting_bytes",
        "_write_watcher",
        "is_closed",
        "session",
    )

    def __init__(self, connected: Transport, session: Session, listener: Dispatcher) -> None:
        self.session = session
        self.is_closed = False
        self._listener = listener
        self._socket = connected
        self._receive = connected.recv
        self._send = connected.send
        self._parser = PacketParser(REQUEST_MAGIC, max_body_bytes=listener.settings.max_packet_bytes, accepts_text=True)
        self._feed = self._parser.feed
        self._dispatch = listener.dispatch
        #: Bytes that the socket did not take at once.
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_bytes = 0
        #: Those of them that the listener knows of.
        self._counted_bytes = 0
        #: Whether nothing is read because much is unread.
        self._is_held_back = False
        self._awaits_turn = False
        self._read_bytes = READ_BYTES
        self._linger_bytes = LINGER_BYTES
        self._linger_timer: Timer | None = None
        self._write_watcher: Watcher | None = None
        self._read_watcher = listener.loop.io(connected.fileno(), READABLE)
        self._read_watcher.start(self.on_readable)

    @property
    def has_unsent(self) -> bool:
        """Whether something is ready for the peer, but not yet sent."""
        return bool(self._waiting or self.session.out or self.session.has_piece)

    # --- reading

    def on_readable(self) -> None:
        """Read once, and have its packets carried out."""
        try:
            data = self._receive(SHORT_READ_BYTES if self._listener.is_late else self._read_bytes)
            if data:
                packets = self._feed(data)
                self._read_bytes = READ_BYTES if packets else LARGE_READ_BYTES
                if len(packets) <= PACKETS_AT_ONCE:
                    self._dispatch(self, packets)
                else:
                    self._listener.dispatch_in_parts(self, packets)
                if (self._parser.violation is not None or self._parser.has_more) and not self.session.is_halted:
                    self._read_again()
            else:
                self._on_end_of_file()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"lost: {error.strerror or error}")
        except Exception:  # noqa: BLE001 - the loop's boundary: one connection's trouble is not the server's
            logger.exception("connection %s: internal error, the connection is closed", self.session.identity)
            self.close("internal error")

    def _take_turn(self) -> None:
        """Do some of the work that had to wait."""
        self._awaits_turn = False
        session = self.session
        if self.is_closed:
            return
        try:
            if not session.has_piece:
                self._listener.go_on(self)
                if not session.is_halted:
                    self._read_again()
            elif not self._waiting:
                session.send_piece()
                self.flush()
        except Exception:  # noqa: BLE001 - the loop's boundary
            logger.exception("connection %s: internal error, the connection is closed", session.identity)
            self.close("internal error")

    def _read_again(self) -> None:
        if self._parser.has_more:
            self.session.set_aside(self._feed(b""))
            self._listener.go_on(self)
        elif self._parser.violation is not None:
            self._listener.violation(self, self._parser.violation)
        elif not self._read_watcher.active:
            self._read_watcher.start(self.on_readable)

    def _on_end_of_file(self) -> None:
        """The peer sends no more. Its jobs are requeued now, but it may still be reading a long answer."""
        if not self._waiting:
            self.close("closed by the peer")
            return
        self._read_watcher.stop()
        self._listener.forget(self, "closed by the peer")

    # --- writing

    def flush_if_long(self) -> None:
        """Send what is ready if it is much: short requests can have long answers."""
        if sum(map(len, self.session.out)) > JOIN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the session's out-buffer; bytes that the socket doesn't take wait until it becomes writable."""
        session = self.session
        out = session.out
        if out:
            if len(out) == 1 and not self._waiting:
                self._send_or_wait(out.pop())
            else:
                self._flush_several(out)
        if self._waiting_bytes or session.withheld_bytes:
            self._count_unread()
            self._drop_if_over_bound()
        if session.is_halted:
            self._settle_halt()

    def _settle_halt(self) -> None:
        """End the connection if its session is ending; else read no more, and ask for a turn if it can use one."""
        session = self.session
        if session.ending is not None:
            if not self._waiting:
                self._end()
            return
        self._read_watcher.stop()
        # A peer that does not read an answer gets no other piece of it, and no other packet of it is carried out.
        can_use_a_turn = not self._waiting if session.has_piece else session.can_go_on
        if can_use_a_turn and not self._awaits_turn:
            self._awaits_turn = True
            self._listener.queue(self._take_turn)

    def _flush_several(self, out: list[bytes]) -> None:
        size_bytes = sum(map(len, out))
        if not self._waiting and size_bytes <= JOIN_BYTES:
            data = b"".join(out)
            out.clear()
            if data:
                self._send_or_wait(data)
            return
        had_waiting = bool(self._waiting)
        self._waiting += (b"".join(out),) if size_bytes <= JOIN_BYTES else out
        self._waiting_bytes += size_bytes
        out.clear()
        if not had_waiting:
            self._send_waiting()

    def _send_or_wait(self, data: bytes) -> None:
        try:
            sent = self._send(data)  # without another call: the hot path
        except OSError as error:
            sent = self._not_sent(data, error)
        if sent < len(data):
            self._waiting.append(memoryview(data)[sent:])
            self._waiting_bytes += len(data) - sent
            self._watch_writable()

    def _try_send(self, data: bytes | memoryview) -> int:
        """Send; returns the number of bytes that the socket took."""
        try:
            return self._send(data)
        except OSError as error:
            return self._not_sent(data, error)

    def _not_sent(self, data: bytes | memoryview, error: OSError) -> int:
        """The number of bytes that count as sent: all of them if the connection is lost, which closes it."""
        if isinstance(error, BlockingIOError | InterruptedError):
            return 0
        self.close(f"lost: {error.strerror or error}")
        return len(data)

    def _send_waiting(self) -> None:
        """Send from the backlog until the socket is full or the budget of this loop pass is spent."""
        budget_bytes = WRITE_BUDGET_BYTES
        while self._waiting and budget_bytes > 0:
            piece = self._next_piece()
            sent = self._try_send(piece)
            if self.is_closed:
                return
            self._waiting_bytes -= sent
            budget_bytes -= sent
            if sent < len(piece):
                self._waiting.appendleft(memoryview(piece)[sent:])
                break
        self._count_unread()
        if self._waiting:
            self._watch_writable()
        elif self._write_watcher is not None:
            self._write_watcher.stop()

    def _count_unread(self) -> None:
        """Tell the listener what is unread. If it is much, read no more from this peer; if it no longer is, go on."""
        self._listener.unread_bytes += self._waiting_bytes - self._counted_bytes
        self._counted_bytes = self._waiting_bytes
        if self.is_closed or self.session.ending is not None:
            return
        if self._waiting_bytes <= MODEST_UNREAD_BYTES:
            if self._is_held_back:
                self._is_held_back = False
                if not self.session.is_halted:
                    self._read_again()
        elif self._listener.unread_bytes > MUCH_UNREAD_BYTES:
            self._is_held_back = True
            self._read_watcher.stop()

    def _next_piece(self) -> bytes | memoryview:
        """The head of the backlog, joined with the next packets up to one write of reasonable size."""
        waiting = self._waiting
        pieces = [waiting.popleft()]
        size_bytes = len(pieces[0])
        while waiting and size_bytes + len(waiting[0]) <= JOIN_BYTES:
            size_bytes += len(waiting[0])
            pieces.append(waiting.popleft())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _watch_writable(self) -> None:
        if self.is_closed:
            return
        if self._write_watcher is None:
            self._write_watcher = self._listener.loop.io(self._socket.fileno(), WRITABLE)
        if not self._write_watcher.active:
            self._write_watcher.start(self._on_writable)

    def _on_writable(self) -> None:
        try:
            self._send_waiting()
            if not self._waiting and not self.is_closed:
                self.flush()
        except Exception:  # noqa: BLE001 - the loop's boundary
            logger.exception("connection %s: internal error, the connection is closed", self.session.identity)
            self.close("internal error")

    def _drop_if_over_bound(self) -> None:
        """Drop a connection whose peer reads too slowly. The piece that is being sent doesn't count, however big."""
        behind_bytes = self._waiting_bytes + self.session.withheld_bytes
        if self._waiting:
            behind_bytes -= len(self._waiting[0])
        if behind_bytes > self._listener.settings.max_backlog_bytes:
            logger.warning("connection %s: dropped, it leaves %d bytes unread", self.session.identity, behind_bytes)
            self.close("does not read what is sent to it")

    # --- the end

    def _end(self) -> None:
        """Everything is sent: tell the peer, and let it read an ERROR before the socket is closed.

        A close with unread input makes the kernel reset the connection, and a reset destroys data on its way.
        """
        if self.is_closed or self._linger_timer is not None:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(self.session.ending or "ended")
            return
        reason = self.session.ending or "ended"
        self._listener.forget(self, reason)
        self._read_watcher.stop()
        self._read_watcher.start(self._discard_input)
        self._linger_timer = self._listener.loop.timer(LINGER_S)
        self._linger_timer.start(self.close, reason)

    def _discard_input(self) -> None:
        try:
            data = self._receive(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._linger_bytes -= len(data)
        if not data or self._linger_bytes < 0:
            self.close("ended")

    def close(self, reason: str) -> None:
        """Close now; unsent data is lost. Closing twice does nothing."""
        if self.is_closed:
            return
        self.is_closed = True
        for watcher in (self._read_watcher, self._write_watcher, self._linger_timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._socket.close()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._count_unread()
        self._listener.forget(self, reason)
