"""A TLS 1.3 client that can send key updates, which Python's ssl has no call for: OpenSSL by ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from typing import Final

_POINTER: Final = ctypes.c_void_p


class KeyUpdater:
    """A connection, encrypted but not authenticated, that sends one key update after another."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(None)  # OpenSSL waits by itself
        self._socket = connected
        self._library = library = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(library, name).restype = _POINTER
        context = library.SSL_CTX_new(_POINTER(library.TLS_client_method()))
        self._connection = _POINTER(library.SSL_new(_POINTER(context)))
        library.SSL_set_fd(self._connection, connected.fileno())
        if library.SSL_connect(self._connection) != 1:
            raise ConnectionError("the TLS handshake failed")

    def send(self, *, wants_answer: bool) -> bool:
        """Send a key update, and ask for one from the server if `wants_answer`. Returns whether it could be sent."""
        self._library.SSL_key_update(self._connection, int(wants_answer))
        return bool(self._library.SSL_do_handshake(self._connection) == 1)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        self._library.SSL_free(self._connection)
