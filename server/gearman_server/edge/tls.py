"""TLS: loads and reloads certificates, and gives a connection a stream that behaves like a non-blocking socket.

It opens no sockets. It decrypts and encrypts in the connection's own event-loop callbacks, and never waits.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any, Final

from gearman_process.regular_file import read_regular_file
from gearman_server.edge.settings import TlsSettings
from gearman_server.errors import StartError
from gearman_server.log import NOTICE, logger

#: Bytes encrypted at a time: a big result must not be doubled in memory before the socket takes it.
ENCRYPT_BYTES: Final = 1 << 17
_DECRYPT_BYTES: Final = 1 << 16
#: Bytes read at a time: one TLS record. A record of data costs little, but six hundred key updates take 8 ms.
_READ_BYTES: Final = 1 << 14
#: The same, after bytes that held hardly any data.
_SUSPICIOUS_BYTES: Final = 1 << 12
#: A peer that sends more than this without any data is closed: nobody needs so many key updates or empty records.
MOST_BYTES_WITHOUT_DATA: Final = 1 << 16
#: The same for one that does not read the answers to its key updates.
MOST_CONTROL_BYTES: Final = ENCRYPT_BYTES + (1 << 16)


class TlsContext:
    """The context for new connections; it is replaced when the certificates are read again."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises StartError when a file can't be used."""
        self._settings = settings
        self.context = _load(settings)

    def reload(self) -> None:
        """Read the files again. If they can't be used, the old certificates stay, and the log says so."""
        try:
            self.context = _load(self._settings)
        except StartError as error:
            logger.error("the old TLS certificates stay in use: %s", error)
        else:
            logger.log(NOTICE, "the TLS certificates were read again")


def _load(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A client that sends its job and closes without reading the session tickets would reset the connection, and so
    # destroy the job that it sent.
    context.num_tickets = 0
    _check_readable("--ssl-certificate", settings.certificate)
    _check_readable("--ssl-key", settings.key)
    _check_readable("--ssl-ca-file", settings.ca_file)
    try:
        # Without a password function an encrypted key would make OpenSSL ask for one on the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    except (OSError, ValueError) as error:
        key = settings.key or settings.certificate
        raise StartError(
            f"--ssl-certificate {settings.certificate} and --ssl-key {key} can't be used: {_explain(error)}; "
            "give PEM files that belong together, the key without a password"
        ) from error
    if settings.ca_file is not None:
        _trust(context, settings.ca_file, settings.verify)
    return context


def _trust(context: ssl.SSLContext, ca_file: str, verify: bool) -> None:
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        raise StartError(
            f"--ssl-ca-file {ca_file} can't be used: {_explain(error)}; give a PEM file of CA certificates"
        ) from error
    # A client may show a certificate even if it doesn't have to: a good one gives it a subject, a bad one is refused.
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_OPTIONAL


def _check_readable(option: str, path: str | None) -> None:
    if path is None:
        return
    try:
        read_regular_file(path, 0)
    except OSError as error:
        raise StartError(
            f"{option} {path} can't be read: {error.strerror}; give {option} FILE, a readable PEM file"
        ) from error


def _explain(failure: Exception) -> str:
    return (isinstance(failure, ssl.SSLError) and failure.reason) or str(failure)


class TlsStream:
    """The encrypted stream over one connected, non-blocking socket."""

    __slots__ = (
        "_accepted_bytes",
        "_bytes_without_data",
        "_ciphertext",
        "_incoming",
        "_is_ended",
        "_outgoing",
        "_read_bytes",
        "_socket",
        "_tls",
    )

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = connected
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: Encrypted bytes that the socket has yet to take, and how many bytes of the last `send` they contain.
        self._ciphertext = memoryview(b"")
        self._accepted_bytes = 0
        self._read_bytes = _READ_BYTES
        self._bytes_without_data = 0
        self._is_ended = False

    @property
    def has_unsent(self) -> bool:
        """Whether the socket has yet to take encrypted bytes."""
        return bool(self._ciphertext)

    @property
    def subject(self) -> str | None:
        """The verified client certificate's subject, such as `O=Example,CN=worker 1`; None without one."""
        certificate: dict[str, Any] | None = self._tls.getpeercert()
        if not certificate:
            return None
        names = [pair for part in certificate.get("subject", ()) for pair in part]
        return ",".join(f"{_SHORT_NAMES.get(name, name)}={value}" for name, value in names)

    def shake_hands(self) -> bool:
        """Continue the handshake; returns whether it is complete and sent.

        Raises:
            OSError: it failed.
        """
        if self._fill(_READ_BYTES) == 0:
            raise ConnectionResetError("the peer closed the connection")
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_control()
            return False
        except ssl.SSLError:
            self._send_control()  # the alert that says why
            raise
        self._send_control()
        return not self._ciphertext

    def acknowledge_at_once(self) -> None:
        """Acknowledge the last packet now. A handshake's end has no answer, so a client with Nagle's algorithm would
        hold its first request back until the kernel's acknowledgement, 40 ms later."""
        if hasattr(socket, "TCP_QUICKACK") and self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    # --- for a connection, with the meaning that these have for a socket

    def recv(self, size: int) -> bytes:
        """All the plaintext of about `size` bytes from the socket; none of it is left behind.

        Raises:
            BlockingIOError: there is none yet.
            ConnectionAbortedError: the peer sends too much that is no data.
        """
        pieces: list[bytes] = []
        while True:
            read_bytes = self._read_bytes
            filled = self._fill(read_bytes)
            data = self._decrypt()
            self._send_control()
            if data:
                pieces.append(data)
            if not filled or self._is_ended:
                break
            self._note_share(len(data), filled)
            size -= filled
            # Full of data: there is probably more.
            if filled < read_bytes or len(data) * 2 < filled or size <= 0:
                break
        if pieces or filled == 0 or self._is_ended:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        raise BlockingIOError

    def _note_share(self, data_bytes: int, read_bytes: int) -> None:
        """Read less at a time from a peer whose messages are hardly any data, and close one that sends none."""
        self._read_bytes = _SUSPICIOUS_BYTES if data_bytes * 8 < read_bytes else _READ_BYTES
        self._bytes_without_data = 0 if data_bytes else self._bytes_without_data + read_bytes
        if self._bytes_without_data > MOST_BYTES_WITHOUT_DATA:
            raise ConnectionAbortedError("it sends TLS messages without any data")

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send the start of `data`; returns how many of its bytes.

        After BlockingIOError, the next call's data must start with the same bytes, as a connection's backlog does: some
        may be encrypted already, and they count once the socket has taken them.
        """
        self._push()
        if self._accepted_bytes:
            return self._count_accepted()
        self._accepted_bytes = self._tls.write(memoryview(data)[:ENCRYPT_BYTES])
        self._ciphertext = memoryview(self._outgoing.read())
        self._push()
        return self._count_accepted()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """Tell the peer that nothing more is sent."""
        self._say_goodbye()
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close the socket, after TLS's closing message to the peer if there is room for it."""
        self._say_goodbye()
        self._socket.close()

    # --- inside

    def _fill(self, size: int) -> int | None:
        """Read once from the socket; returns the number of bytes, 0 if the peer has closed it, None if there are none
        yet."""
        try:
            data = self._socket.recv(size)
        except (BlockingIOError, InterruptedError):
            return None
        if data:
            self._incoming.write(data)
        return len(data)

    def _decrypt(self) -> bytes:
        pieces: list[bytes] = []
        while not self._is_ended:
            try:
                piece = self._tls.read(_DECRYPT_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self._end_input()
                break
            pieces.append(piece)
            if not self._tls.pending() and not self._incoming.pending:
                break  # a vain attempt would cost as much as decrypting a small packet
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end_input(self) -> None:
        """The peer sends no more: from now on the socket is readable, and `recv` returns b""."""
        self._is_ended = True
        with contextlib.suppress(OSError):  # the peer may be gone altogether
            self._socket.shutdown(socket.SHUT_RD)

    def _push(self) -> None:
        """Have the socket take all encrypted bytes.

        Raises:
            BlockingIOError: it has not taken all of them.
        """
        while self._ciphertext:
            sent = self._socket.send(self._ciphertext)
            self._ciphertext = self._ciphertext[sent:]

    def _count_accepted(self) -> int:
        accepted, self._accepted_bytes = self._accepted_bytes, 0
        return accepted

    def _send_control(self) -> None:
        """Send TLS's own messages; bytes that the socket doesn't take are sent before the next data."""
        if self._outgoing.pending:
            self._ciphertext = memoryview(bytes(self._ciphertext) + self._outgoing.read())
        if self._ciphertext:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._push()
            if len(self._ciphertext) > MOST_CONTROL_BYTES:
                raise ConnectionAbortedError("it does not read the answers to its TLS messages")

    def _say_goodbye(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()  # raises, because the peer's own closing message has not come; we don't wait for it
        with contextlib.suppress(OSError):
            self._send_control()


_SHORT_NAMES: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
}
