"""One connection to a job server, TCP or TLS over TCP: it sends without blocking on a full socket, and reads packets.

Client and Worker are built on it. It knows nothing of jobs and never reconnects: once it has raised ConnectionLost it
is finished. The socket is a blocking one with the kernel's receive timeout, so that waiting for an answer costs one
system call; calls that must not block pass a flag.
"""

from __future__ import annotations

import _socket
import contextlib
import select
import socket
import struct
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from gearman_client import exclusive
from gearman_client.address import Address
from gearman_client.connection.tls_stream import PartOfRecord, TlsStream
from gearman_client.connection.waiting import wait_for
from gearman_client.errors import ConnectionLost, InUse, ProtocolError, Timeout
from gearman_client.extensions import SERVERS
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES, RESPONSE_MAGIC, Packet, PacketParser

#: Small enough that malloc serves it from the heap (a mapping per read costs more than the read).
RECEIVE_BYTES: Final = 64 * 1024
#: Used after a read that came back full, because then a big packet is under way.
BIG_RECEIVE_BYTES: Final = 1024 * 1024
#: The limit of the bytes that arrive while we send and are kept for later.
MAX_INBOX_BYTES: Final = 2 * DEFAULT_MAX_BODY_BYTES
#: Reads that may find nothing but what was not asked for, before a connection counts as busy.
_MOST_QUIET_READS: Final = 10

_TIMEVAL: Final = struct.Struct("ll")


class Connection:
    """A connected socket, the bytes still to send, and the packets not yet taken.

    Every method that does I/O raises ConnectionLost once the peer is gone, has broken the protocol, or has taken no
    byte for `stall_s` seconds.
    """

    __slots__ = (
        "_forks",
        "_inbox",
        "_inbox_bytes",
        "_kernel_wait_s",
        "_kernel_waits",
        "_outgoing",
        "_parser",
        "_receive_bytes",
        "_recv",
        "_socket",
        "_stall_s",
        "address",
        "before_flush",
        "on_servers",
        "queue",
        "sent_bytes",
    )

    def __init__(
        self,
        sock: socket.socket | TlsStream,
        address: Address,
        *,
        stall_s: float = 10.0,
        tick_s: float | None = None,
    ) -> None:
        """`tick_s`: how long `receive` waits, if not for `stall_s`; see `receive_within`."""
        self.address = address
        #: Called with the body of each SERVERS packet, which is then not among the packets received; None: such a
        #: packet was not asked for.
        self.on_servers: Callable[[bytes], object] | None = None
        #: Called before something is sent, to queue what is to leave with it.
        self.before_flush: Callable[[], object] | None = None
        #: The number of bytes that the kernel has taken so far.
        self.sent_bytes = 0
        self._socket = sock
        self._recv: Callable[[int, int], bytes] = sock.recv_once if isinstance(sock, TlsStream) else sock.recv
        self._stall_s = stall_s
        self._forks = exclusive.forks
        self._outgoing: list[bytes | memoryview] = []
        #: Adds a packet for the next `flush` or `try_flush`.
        self.queue: Callable[[bytes], None] = self._outgoing.append
        self._parser = PacketParser(RESPONSE_MAGIC)
        self._inbox: list[Packet] = []
        self._inbox_bytes = 0
        self._receive_bytes = RECEIVE_BYTES
        self._kernel_waits = _recv_waits_in_the_kernel()
        self._kernel_wait_s = max(stall_s if tick_s is None else tick_s, 0.001)
        self._prepare()

    def _prepare(self) -> None:
        sock = self._socket.below if isinstance(self._socket, TlsStream) else self._socket
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(self._kernel_waits)
        if self._kernel_waits:
            seconds = self._kernel_wait_s
            timeval = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def fileno(self) -> int:
        """The socket's descriptor, or -1 once it is closed."""
        return self._socket.fileno()

    @property
    def unsent_bytes(self) -> int:
        """The number of bytes that wait to be sent."""
        return sum(map(len, self._outgoing))

    @property
    def violation(self) -> ProtocolError | None:
        """How the peer has broken the protocol, after the packets returned so far; the next read would raise."""
        return self._parser.violation

    def check_process(self) -> None:
        """Check that no fork came in between.

        Raises:
            InUse: another process opened the connection.
        """
        if self._forks != exclusive.forks:
            raise InUse(
                f"the connection to {self.address} belongs to the process that opened it before a fork: "
                "what it has begun ends there"
            )

    def send_some(self, most_unsent_bytes: int) -> None:
        """Send what the server takes now; wait for it only while more than so many bytes are unsent."""
        if not self.try_flush() and self.unsent_bytes > most_unsent_bytes:
            self.flush()

    def try_flush(self) -> bool:
        """Send as much as the kernel takes at once; True when nothing is left."""
        outgoing = self._outgoing
        if self.before_flush is not None:
            self.before_flush()
        while outgoing:
            data = outgoing[0]
            if len(outgoing) > 1 and isinstance(data, bytes):
                data = b"".join(outgoing)
                outgoing[:] = [data]
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._lost(error.strerror or str(error)) from error
            self.sent_bytes += sent
            if sent == len(data):
                del outgoing[0]
            else:
                outgoing[0] = memoryview(data)[sent:]
        return True

    def flush(self, deadline: float = inf) -> None:
        """Send everything, and read meanwhile: with a peer that writes before it reads, both would block for ever.

        Raises:
            Timeout: `deadline` (monotonic) has passed.
        """
        if self.try_flush():
            return
        unsent_bytes, stalled_at = self.unsent_bytes, monotonic() + self._stall_s
        while not self.try_flush():
            if self.unsent_bytes < unsent_bytes:
                unsent_bytes, stalled_at = self.unsent_bytes, monotonic() + self._stall_s
            events = self._wait(select.POLLIN | select.POLLOUT, min(stalled_at, deadline) - monotonic())
            if not events and monotonic() >= deadline:
                raise Timeout(f"{self.address} took no more than a part of the request in the time allowed")
            if not events:
                raise self._lost(f"the peer took no data for {self._stall_s:g} s")
            if events & ~select.POLLOUT:
                self._fill_inbox()

    def receive(self) -> list[Packet]:
        """Wait for bytes and return the complete packets, possibly none.

        Raises:
            Timeout: no byte arrived for `stall_s` seconds.
        """
        if self._inbox:
            packets, self._inbox, self._inbox_bytes = self._inbox, [], 0
            return packets
        if not self._kernel_waits and not self.wait_readable(self._stall_s):
            raise Timeout(f"{self.address} sent nothing for {self._stall_s:g} s")
        return self._read()

    def receive_within(self, left_s: float) -> list[Packet]:
        """As `receive`, but wait at most so long (may be infinite) or for a tick; no packet is an empty list.

        A wait of the kernel in `recv` costs one system call, a wait in `poll` before it two.
        """
        if not self._inbox:
            if self._kernel_waits and left_s > self._kernel_wait_s:
                try:
                    return self._read()
                except Timeout:
                    return []
            if not self.wait_readable(None if left_s == inf else left_s):
                return []
        return self.receive()

    def try_receive(self) -> list[Packet]:
        """The complete packets among the bytes that have arrived, possibly none; never waits."""
        if self._inbox:
            return self.receive()
        if not self._kernel_waits and not self.wait_readable(0):
            return []
        try:
            return self._read(socket.MSG_DONTWAIT)
        except Timeout:
            return []

    def wait_writable(self, timeout_s: float) -> bool:
        """Wait until `try_flush` can send something; False when the time runs out."""
        return bool(self._wait(select.POLLOUT, timeout_s))

    def wait_readable(self, timeout_s: float | None) -> bool:
        """Wait until `receive` has bytes, or the end of the connection, to report; False when the time runs out."""
        return bool(self._inbox) or bool(self._wait(select.POLLIN, timeout_s))

    def is_quiet(self) -> bool:
        """Whether nothing has arrived, apart from SERVERS and from messages that TLS sends for its own purposes.

        Raises:
            ConnectionLost: the peer has ended the connection.
        """
        may_be_quiet = self.on_servers is not None or isinstance(self._socket, TlsStream)
        for _ in range(_MOST_QUIET_READS):  # behind what the server tells of its cluster its end may have arrived
            if not self.wait_readable(0):
                return True
            if not may_be_quiet or self.try_receive() or self._parser.pending_bytes:
                return False
        return False

    def finish_sending(self) -> None:
        """Tell the peer that nothing follows; it can still read what was sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def read_to_end(self, deadline: float) -> None:
        """Discard everything that arrives, until the peer closes or `deadline` (monotonic) passes.

        Closing a socket with unread bytes makes the kernel send RST, and an RST makes the peer lose what it has not
        read yet.
        """
        with contextlib.suppress(OSError):
            while self._wait(select.POLLIN, deadline - monotonic()) and self._discard():
                pass

    def _discard(self) -> bool:
        """Read some bytes and discard them; False at the end."""
        try:
            return bool(self._recv(BIG_RECEIVE_BYTES, 0))
        except PartOfRecord:
            return True

    def close(self) -> None:
        """Close the socket and discard what was not sent."""
        self._outgoing.clear()
        self.before_flush = None
        self._socket.close()

    def _read(self, flags: int = 0) -> list[Packet]:
        parser = self._parser
        if parser.violation is not None:
            raise self._lost(str(parser.violation)) from parser.violation
        try:
            data = self._recv(self._receive_bytes, flags)
        except PartOfRecord:
            return []
        except BlockingIOError as error:
            raise Timeout(f"{self.address} sent nothing for {self._stall_s:g} s") from error
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        if not data:
            raise self._lost("closed by the job server")
        self._receive_bytes = BIG_RECEIVE_BYTES if len(data) >= RECEIVE_BYTES else RECEIVE_BYTES
        packets = parser.feed(data)
        if self.on_servers is not None:
            packets = self._without_servers(packets, self.on_servers)
        if not packets and parser.violation is not None:
            raise self._lost(str(parser.violation)) from parser.violation
        return packets

    def _without_servers(self, packets: list[Packet], on_servers: Callable[[bytes], object]) -> list[Packet]:
        for packet_type, body in packets:
            if packet_type == SERVERS:
                try:
                    on_servers(body)
                except ProtocolError as error:
                    raise self._lost(str(error)) from error
        return [packet for packet in packets if packet[0] != SERVERS]

    def _fill_inbox(self) -> None:
        packets = self._read()
        self._inbox += packets
        self._inbox_bytes += sum(len(body) for _, body in packets)
        if self._inbox_bytes > MAX_INBOX_BYTES:
            raise self._lost(f"the peer sent more than {MAX_INBOX_BYTES} bytes unasked")

    def _wait(self, events: int, timeout_s: float | None) -> int:
        """The events that occurred; 0 when the time ran out."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise self._lost("already closed")
        return wait_for(descriptor, events, timeout_s)

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(f"connection to {self.address} lost: {reason}")


def _recv_waits_in_the_kernel() -> bool:
    """Whether a blocking `recv` waits in the kernel, which obeys SO_RCVTIMEO; a socket patched by gevent does not."""
    return socket.socket.recv is _socket.socket.recv
