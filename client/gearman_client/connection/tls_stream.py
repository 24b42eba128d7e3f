"""A TLS connection that looks like the socket below it, and never holds back decrypted bytes.

The standard library's TLS sockets keep decrypted bytes that no `poll` reports, and do not support MSG_DONTWAIT. Here
the socket stays as the caller made it: blocking, with the kernel's timeout, or one of gevent's. The first connection
that needs `ssl` imports it, because it costs a process 2 MB.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gearman_client.address import Address
from gearman_client.errors import CouldNotConnect
from gearman_client.tls import Tls

if TYPE_CHECKING:
    import ssl

#: The largest piece encrypted at once, so also the most that waits encrypted for a slow peer.
CHUNK_BYTES: Final = 64 * 1024
RECEIVE_BYTES: Final = 64 * 1024


class PartOfRecord(BlockingIOError):
    """Bytes arrived, but none for the caller: a part of a record, or a message for TLS itself."""


class TlsStream:
    """TLS over `below`, a connected socket. Errors are OSError, as with a socket."""

    def __init__(self, below: socket.socket, context: ssl.SSLContext, host: str) -> None:
        import ssl

        self.below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._needs_more: type[ssl.SSLError] = ssl.SSLWantReadError
        self._ends: tuple[type[ssl.SSLError], ...] = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
        self._error: type[ssl.SSLError] = ssl.SSLError
        self._encrypted = memoryview(b"")
        #: The bytes at the start of the caller's next `send` that are encrypted already, but not all sent.
        self._accepted_bytes = 0
        self._has_ended = False
        self._pid = os.getpid()

    def fileno(self) -> int:
        """The descriptor of the socket below."""
        return self.below.fileno()

    def settimeout(self, timeout_s: float | None) -> None:
        """Set the timeout of the socket below."""
        self.below.settimeout(timeout_s)

    @property
    def waits_for_room(self) -> bool:
        """Whether there are encrypted bytes that could not be sent yet."""
        return bool(self._encrypted)

    def shake_hands(self, flags: int = 0) -> bool:
        """Continue the handshake; True once it is complete, False (with MSG_DONTWAIT) while it waits for the peer."""
        while True:
            is_complete = self._step()
            self._send_encrypted(flags)
            if is_complete:
                return True
            try:
                data = self.below.recv(RECEIVE_BYTES, flags)
            except BlockingIOError:
                return False
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake")
            self._incoming.write(data)

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send bytes and return their number. After BlockingIOError the next call must begin with the same bytes."""
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            if not self._accepted_bytes:
                self._accepted_bytes = self._encrypt(view[sent : sent + CHUNK_BYTES])
            if not self._send_encrypted(flags):
                if sent:
                    break
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            sent += self._accepted_bytes
            self._accepted_bytes = 0
        return sent

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Wait for bytes and return them; b"" at the end."""
        while True:
            with contextlib.suppress(PartOfRecord):
                return self.recv_once(size, flags)

    def recv_once(self, size: int, flags: int = 0) -> bytes:
        """Read from the socket once and return all that can be decrypted, so that `poll` on the socket is reliable.

        The result may be longer than `size` by one record.

        Raises:
            PartOfRecord: no byte of it was for the caller.
        """
        if self._has_ended:
            return b""
        data = self.below.recv(size, flags)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        received = self._decrypt()
        if self._outgoing.pending:  # TLS itself answers the peer
            self._send_encrypted(socket.MSG_DONTWAIT)
        if not received and not self._has_ended:
            raise PartOfRecord(errno.EAGAIN, "a part of a TLS record")
        return received

    def shutdown(self, how: int) -> None:
        """Tell the peer that nothing follows, in TLS and below it."""
        self._say_goodbye()
        self.below.shutdown(how)

    def close(self) -> None:
        """Close the socket below, after a TLS goodbye to the peer if that does not block.

        After a fork the connection goes on in the parent, so a child says no goodbye.
        """
        if self.below.fileno() >= 0 and os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                self.below.settimeout(0)
                self._say_goodbye()
        self.below.close()

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except self._needs_more:
            return False
        except self._error as error:
            with contextlib.suppress(OSError):
                self._send_encrypted(socket.MSG_DONTWAIT)  # the alert that tells the peer the reason
            raise _translated(error) from error
        return True

    def _encrypt(self, data: memoryview) -> int:
        try:
            return self._tls.write(data)
        except self._error as error:
            raise _translated(error) from error

    def _decrypt(self) -> bytes:
        parts = []
        try:
            while part := self._tls.read(CHUNK_BYTES):
                parts.append(part)
            self._has_ended = True
        except self._needs_more:
            pass
        except self._ends:
            self._has_ended = True
        except self._error as error:
            raise _translated(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _send_encrypted(self, flags: int) -> bool:
        """Send encrypted bytes; True if all of them have been sent."""
        if self._outgoing.pending:
            more = self._outgoing.read()
            self._encrypted = memoryview(bytes(self._encrypted) + more if self._encrypted else more)
        while self._encrypted:
            try:
                sent = self.below.send(self._encrypted, flags)
            except BlockingIOError:
                return False
            self._encrypted = self._encrypted[sent:]
        return True

    def _say_goodbye(self) -> None:
        with contextlib.suppress(self._error):
            self._tls.unwrap()
        self._send_encrypted(socket.MSG_DONTWAIT)


def context_of(address: Address) -> ssl.SSLContext | None:
    """The TLS context for an address, or None without TLS; files that have changed are read again.

    Raises:
        CouldNotConnect: a file can't be used.
    """
    if address.tls is None:
        return None
    try:
        return load_context(address.tls)
    except ValueError as error:
        raise CouldNotConnect(f"could not connect to {address}: {error}") from error


def load_context(tls: Tls) -> ssl.SSLContext:
    """The checked certificates of a `Tls`.

    Raises:
        ValueError: a file can't be used; the message names it and the reason.
    """
    files = (tls.ca_file, tls.certificate_file, tls.key_file)
    return _load(tls, tuple(_version(file) for file in files if file is not None))


def secured(below: socket.socket, address: Address) -> socket.socket | TlsStream:
    """The socket itself, or TLS over it after the handshake if the address asks for TLS; the socket's timeout applies.

    Raises:
        CouldNotConnect, OSError: no trusted connection could be made; the socket is closed.
    """
    try:
        context = context_of(address)
        if context is None:
            return below
        stream = TlsStream(below, context, address.host)
        stream.shake_hands()
        return stream
    except BaseException:
        below.close()
        raise


def _version(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error
    return found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=16)
def _load(tls: Tls, _versions: tuple[tuple[int, int], ...]) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise ValueError(f"{tls.ca_file} can't be used: {_why(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate_file is not None:
        try:
            # Without this function the library would ask for a password at the terminal.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=lambda: "")
        except OSError as error:
            files = " and ".join(file for file in (tls.certificate_file, tls.key_file) if file is not None)
            raise ValueError(f"{files} can't be used: {_why(error)}") from error
    return context


def _why(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.ENOENT, errno.EISDIR):
        return os.strerror(error.errno)
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason)
    return "expected PEM, a key without a password"


def _translated(error: ssl.SSLError) -> OSError:
    """The error with a reason that a person understands."""
    message = getattr(error, "verify_message", None)
    if message:
        return OSError(errno.EPROTO, f"the server's certificate is not trusted: {message.rstrip('.')}")
    reason = (error.reason or error.strerror or str(error)).lower().replace("_", " ")
    return OSError(errno.EPROTO, f"TLS: {reason}")
