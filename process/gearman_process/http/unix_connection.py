"""The client's side of HTTP over a Unix socket, with the standard library."""

from __future__ import annotations

import http.client
import os
import socket


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str | os.PathLike[str], timeout_s: float) -> None:
        """`timeout_s` is for each of its waits."""
        super().__init__("localhost", timeout=timeout_s)
        self._path = os.fspath(path)

    def connect(self) -> None:
        """Connect; called by the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
