"""An HTTP connection that ends at a deadline and goes only to addresses chosen beforehand; used by `fetch_url`.

`http.client` has a time limit for each read, so a server that sends one byte a second is never cut off. Here each read
gets the time that is left of the whole. It knows nothing about redirects or about allowed addresses.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _public_addresses import Endpoint


@dataclass(frozen=True)
class Deadline:
    """The point of monotonic time at which everything must be finished."""

    at: float

    @classmethod
    def after(cls, total_s: float) -> "Deadline":
        return cls(time.monotonic() + total_s)

    def remaining_s(self) -> float:
        remaining_s = self.at - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the deadline has passed")
        return remaining_s


class DeadlineReader(io.RawIOBase):
    """Reads from a socket; each read gets the time that is left until the deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        # The socket counts this file as a user, and stays open for it after the connection has closed the socket.
        self._file = connected.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._deadline.remaining_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class DeadlineSocket:
    """The three methods of a socket that `http.client` uses, within the deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(DeadlineReader(self._socket, self._deadline))

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.remaining_s())
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


class DeadlineConnection(http.client.HTTPConnection):
    """Connects to one of the given endpoints, even if the host's name resolves to others by now."""

    def __init__(
        self, host: str, port: int, endpoints: Sequence[Endpoint], deadline: Deadline, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port)
        # The Host header names the port if it is not this one.
        self.default_port = 443 if tls else 80
        self._endpoints = endpoints
        self._deadline = deadline
        self._tls = tls

    def connect(self) -> None:
        connected = connect_to_any(self._endpoints, self._deadline)
        if self._tls:
            connected.settimeout(self._deadline.remaining_s())
            connected = self._tls.wrap_socket(connected, server_hostname=self.host)
        wrapped: Any = DeadlineSocket(connected, self._deadline)
        self.sock = wrapped


def connect_to_any(endpoints: Sequence[Endpoint], deadline: Deadline) -> socket.socket:
    """Connect to the first endpoint that answers. They share the time, so a dead one leaves some to the next."""
    failure = OSError("the host has no address")
    for number, (family, place) in enumerate(endpoints):
        candidate = socket.socket(family, socket.SOCK_STREAM)
        try:
            candidate.settimeout(deadline.remaining_s() / (len(endpoints) - number))
            candidate.connect(place)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure
