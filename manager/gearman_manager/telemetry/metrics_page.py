"""Asks the manager for its page of metrics, over its control socket."""

from __future__ import annotations

import http.client
import socket
from typing import Final

TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 64 << 20


class NoPage(Exception):
    """The manager gave no page of metrics; the text says why."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def metrics_page(control_socket: str) -> str:
    """The page of `/metrics`.

    Raises:
        NoPage: the manager does not answer, or refuses.
    """
    connection = _Connection(control_socket)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        page = answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoPage(f"the manager does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise NoPage(f"the manager answers {answer.status}")
    return page.decode(errors="replace")
