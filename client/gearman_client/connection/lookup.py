"""The look-up of a host's addresses. It can be awaited with a deadline, which the standard library's can't.

Numbers need no look-up. A name is looked up in a thread of its own, which a caller who has no more time leaves behind:
the resolver of the system gives up by itself, mostly after 5 to 30 s.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque

from gearman_client.address import Address
from gearman_client.connection import stand_in
from gearman_client.errors import CouldNotConnect

Candidate = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def look_up(address: Address, flags: int = 0) -> deque[Candidate]:
    """The addresses of a host. Blocks as long as the system's resolver does.

    Raises:
        CouldNotConnect: the host has none.
    """
    if _is_number(address.host):
        return deque([(socket.AF_INET, (address.host, address.port))])
    # As bytes: text would import the codec for international names, 2 MB in every worker, and ASCII does not need it.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CouldNotConnect(
            f"could not connect to {address}: the host name can't be resolved ({reason}); check its spelling"
        ) from error
    return deque((family, where) for family, _, _, _, where in found)


def _is_number(host: str) -> bool:
    """Whether it is an address of IPv4, which needs no call of the resolver."""
    try:
        return bool(socket.inet_pton(socket.AF_INET, host))
    except (OSError, ValueError):
        return False


class Lookup:
    """A look-up under way. `fileno` becomes readable at its end; `take` returns what was found."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._found: deque[Candidate] | CouldNotConnect | None = None
        self._reader = -1
        if stand_in.current() is not None:
            self._found = deque()
            return
        try:
            self._found = look_up(address, socket.AI_NUMERICHOST)
        except CouldNotConnect:
            self._reader, writer = os.pipe()
            threading.Thread(target=self._run, args=(writer,), daemon=True, name=f"look-up of {address.host}").start()

    def fileno(self) -> int:
        """The descriptor to watch; -1 for a look-up that ended at once."""
        return self._reader

    def take(self) -> deque[Candidate] | None:
        """What was found; None while the look-up is under way.

        Raises:
            CouldNotConnect: the host has no address.
        """
        if isinstance(self._found, CouldNotConnect):
            raise self._found
        return self._found

    def close(self) -> None:
        """Leave the look-up behind."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def _run(self, writer: int) -> None:
        try:
            self._found = look_up(self._address)
        except CouldNotConnect as error:
            self._found = error
        finally:
            with contextlib.suppress(OSError):
                os.close(writer)
