"""One HTTP request's session with the broker: submits a job and collects the packets about it, or stops one.

The request's greenlet waits here; the loop wakes it when packets have come, or when its peer has gone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gevent.event import Event

from gearman_client.extensions import DUPLICATE, INVALID_OPTION
from gearman_client.packet import RESPONSE_MAGIC, Packet, PacketParser, PacketType
from gearman_server.errors import ServerError
from gearman_server.jobs.access import Identity
from gearman_server.loop import READABLE
from gearman_server.sequels.job_batches import INVALID_BATCH

if TYPE_CHECKING:
    from gearman_server.edge.listener import Listener

#: The codes of ERROR for a mistake of the peer; all others mean a problem of the server.
_CALLERS_FAULTS: Final = (
    b"ARGUMENT_TOO_LARGE",
    b"INVALID_FUNCTION_NAME",
    b"INVALID_ARGUMENT",
    b"INVALID_PACKET",
    INVALID_OPTION,
)
#: Those that say what has become of something.
_CONFLICTS: Final = (DUPLICATE, INVALID_BATCH)


class CallerGoneError(ServerError):
    """The peer no longer waits for the answer, or the server is ending."""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a request ends: an HTTP status, the packet that ended it, the job's handle, and the answer's body."""

    status: int
    command: str
    handle: bytes
    body: bytes = b""


class Caller:
    """A session without a Gearman connection. The listener treats it as a connection."""

    def __init__(self, listener: Listener, identity: Identity, peer: Any) -> None:
        self._listener = listener
        self._peer = peer
        self._parser = PacketParser(RESPONSE_MAGIC, max_body_bytes=2**32)
        self._packets: list[Packet] = []
        self._changed = Event()
        self._is_closed = False
        self.session = listener.register(self, identity, peer.fileno())
        self.session.client_id = b"http"
        self.session.wants_exceptions = True
        self._peer_watcher = listener.loop.io(peer.fileno(), READABLE)

    def call(self, packet: Packet, *, is_background: bool, on_submitted: Callable[[], None]) -> JobOutcome:
        """Submit the job, and wait until it has ended; wait for a background job only until it is accepted.

        `on_submitted` is called once the job is the broker's.

        Raises:
            CallerGoneError: the peer has gone, or the server is ending.
        """
        if not is_background:  # it is answered at once, even if nobody is there to read it
            self._peer_watcher.start(self._on_peer)
        self._listener.dispatch(self, [packet])
        del packet  # it is as large as the workload, and the job can take long
        on_submitted()
        self._listener.flush_soon()
        handle, pieces, size_bytes = b"", [], 0
        while True:
            packet_type, body = self._next()
            if packet_type == PacketType.JOB_CREATED:
                handle = body
                if is_background:
                    return JobOutcome(200, "JOB_CREATED", handle)
            elif packet_type == PacketType.WORK_DATA:
                pieces.append(body.partition(b"\0")[2])
                size_bytes += len(pieces[-1])
                if size_bytes > self._listener.settings.max_backlog_bytes:
                    return JobOutcome(502, "WORK_DATA", handle, b"the result is too large\n")
            elif packet_type in _ENDINGS:
                return _ended(packet_type, body, handle, pieces)

    def ask(self, packet: Packet) -> Packet:
        """The answer to a request.

        Raises:
            CallerGoneError: the server is ending.
        """
        self._listener.dispatch(self, [packet])
        self._listener.flush_soon()
        return self._next()

    def _next(self) -> Packet:
        while not self._packets:
            if self._is_closed:
                raise CallerGoneError("closed")
            self._changed.wait()
            self._changed.clear()
        return self._packets.pop(0)

    def _on_peer(self) -> None:
        """The peer has sent something while its job runs: its next request, or the end of its input."""
        try:
            is_gone = not self._peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            is_gone = True
        self._peer_watcher.stop()
        if is_gone:
            self.close("closed by the peer")

    # --- for the listener

    @property
    def has_unsent(self) -> bool:
        """Whether something is ready for the peer."""
        return bool(self.session.out or self._packets)

    def flush(self) -> None:
        """Take the packets that the broker has left in the out-buffer."""
        out = self.session.out
        if out:
            self._packets += self._parser.feed(b"".join(out))
            out.clear()
            self._changed.set()
        if self.session.ending is not None:
            self.close(self.session.ending)

    def close(self, reason: str) -> None:
        """End the session: a job that nobody else waits for is abandoned. Closing twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._peer_watcher.stop()
        self._peer_watcher.close()
        self._listener.forget(self, reason)
        self._listener.flush_soon()
        self._changed.set()


_ENDINGS: Final = (
    PacketType.WORK_COMPLETE,
    PacketType.WORK_FAIL,
    PacketType.WORK_EXCEPTION,
    PacketType.ERROR,
)


def _ended(packet_type: int, body: bytes, handle: bytes, pieces: list[bytes]) -> JobOutcome:
    command = PacketType(packet_type).name
    first, _, rest = body.partition(b"\0")
    if packet_type == PacketType.WORK_COMPLETE:
        return JobOutcome(200, command, handle, b"".join([*pieces, rest]))
    if packet_type == PacketType.ERROR:
        status = 400 if first in _CALLERS_FAULTS else 409 if first in _CONFLICTS else 503
        return JobOutcome(status, command, handle, first + b": " + rest + b"\n")
    return JobOutcome(502, command, handle, rest or b"the job failed\n")
