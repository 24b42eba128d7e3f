"""Opens a connection without blocking: one attempt tries every address of a host name in turn.

No Gearman packet is sent here.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from time import monotonic
from typing import Final

from gearman_client.address import Address
from gearman_client.connection import stand_in
from gearman_client.connection.lookup import Candidate, Lookup, look_up
from gearman_client.connection.tls_stream import TlsStream, context_of
from gearman_client.connection.waiting import wait_for, wait_for_any
from gearman_client.errors import CouldNotConnect

#: TCP's probes of a silent peer: after a minute without a byte three of them, ten seconds apart. A minute also keeps a
#: NAT or a balancer from forgetting the connection; the system's own value is two hours.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
#: Said of a host's name that nobody could tell in time.
NO_NAME_SERVER: Final = "the look-up of the host name takes too long; check the name servers of this machine"
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EAGAIN, errno.EINTR})


class ConnectAttempt:
    """One attempt to reach a job server. Watch `fileno` for `events`; call `advance` when one occurs or at `deadline`.

    candidates: the addresses of the host, from a `Lookup`; without them the constructor blocks while it looks them up.

    Raises:
        CouldNotConnect: from the constructor and from `advance`, when no address of the host answers or one of its TLS
            files can't be used.
    """

    def __init__(
        self, address: Address, timeout_s: float, now: float, candidates: deque[Candidate] | None = None
    ) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._stream: TlsStream | None = None
        self._is_connected = False
        self._reason = ""
        self.deadline = now
        connect_in_its_place = stand_in.current()
        if connect_in_its_place is not None:
            self._socket, self._is_connected = connect_in_its_place(address), True
            return
        self._tls_context = context_of(address)
        self._candidates = look_up(address) if candidates is None else candidates
        # An address that swallows packets must not use up the time of the next one.
        self._share_s = timeout_s / len(self._candidates)
        self._start_next(now)

    def fileno(self) -> int:
        """The descriptor of the connecting socket; it changes when `advance` moves on to the next address."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def events(self) -> int:
        """The events for `poll`: POLLOUT until the socket is connected, mostly POLLIN during the TLS handshake."""
        return select.POLLOUT if self._stream is None or self._stream.waits_for_room else select.POLLIN

    def advance(self, now: float) -> socket.socket | TlsStream | None:
        """The connection, which then belongs to the caller, or None while the attempt is under way."""
        if not self._is_connected:
            self._look(now)
        if not self._is_connected:
            return None
        connected = self._stream or self._socket
        self._socket = self._stream = None
        return connected

    def close(self) -> None:
        """Give up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._stream = None

    def _look(self, now: float) -> None:
        sock = self._socket
        if sock is None:
            raise self._failed()
        if self._stream is not None:
            self._shake_hands(self._stream, now)
            return
        if not _is_writable(sock):
            if now >= self.deadline:
                self._next("no answer", now)
            return
        error_number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _error_once_connected(sock)
        if error_number:
            self._next(os.strerror(error_number), now)
        else:
            self._settle(sock, now)

    def _settle(self, sock: socket.socket, now: float) -> None:
        if self._tls_context is None:
            self._is_connected = True
        else:
            self._stream = TlsStream(sock, self._tls_context, self._address.host)
            self._shake_hands(self._stream, now)

    def _shake_hands(self, stream: TlsStream, now: float) -> None:
        try:
            self._is_connected = stream.shake_hands(socket.MSG_DONTWAIT)
        except OSError as error:
            self._next(error.strerror or str(error), now)
            return
        if not self._is_connected and now >= self.deadline:
            self._next("no answer to the TLS handshake", now)

    def _next(self, reason: str, now: float) -> None:
        self._reason = reason
        self.close()
        self._start_next(now)

    def _start_next(self, now: float) -> None:
        while self._candidates:
            family, where = self._candidates.popleft()
            self.deadline = now + self._share_s
            try:
                self._socket = socket.socket(family, socket.SOCK_STREAM)
                self._socket.setblocking(False)
                keep_alive(self._socket)
                error_number = self._socket.connect_ex(where)
            except OSError as error:
                error_number = error.errno or errno.EIO
            if error_number == 0 or error_number in _UNDER_WAY:
                return
            self._reason = os.strerror(error_number)
            self.close()
        raise self._failed()

    def _failed(self) -> CouldNotConnect:
        what = "host and port" if self._tls_context is None else "host, port and certificates"
        return CouldNotConnect(
            f"could not connect to {self._address}: {self._reason}; "
            f"check that a job server runs there and that {what} are right"
        )


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out within a minute and a half that the peer of a TCP socket is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def connect(address: Address, timeout_s: float) -> socket.socket | TlsStream:
    """Open a connection within `timeout_s`, the look-up of the host's name included.

    Raises:
        CouldNotConnect: as `ConnectAttempt`.
    """
    deadline = monotonic() + timeout_s
    attempt = ConnectAttempt(address, timeout_s, monotonic(), _looked_up(address, deadline))
    try:
        while True:
            sock = attempt.advance(monotonic())
            if sock is not None:
                return sock
            wait_for_any([(attempt.fileno(), attempt.events)], attempt.deadline - monotonic())
    finally:
        attempt.close()


def _looked_up(address: Address, deadline: float) -> deque[Candidate]:
    lookup = Lookup(address)
    try:
        while (candidates := lookup.take()) is None:
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise CouldNotConnect(f"could not connect to {address}: {NO_NAME_SERVER}")
            wait_for_any([(lookup.fileno(), select.POLLIN)], left_s)
        return candidates
    finally:
        lookup.close()


def _error_once_connected(sock: socket.socket) -> int:
    """What makes a socket useless that has connected; 0 if nothing does."""
    try:
        # Connecting to a free port of this machine can connect the socket to itself.
        return errno.ECONNREFUSED if sock.getsockname() == sock.getpeername() else 0
    except OSError:  # the peer has reset the connection meanwhile, so it has no peer any more
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET


def _is_writable(sock: socket.socket) -> bool:
    return bool(wait_for(sock.fileno(), select.POLLOUT, 0))
