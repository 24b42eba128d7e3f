"""Bound, listening sockets: address names resolved, a port that is still being left waited for, who has it named.

Every descriptor is close-on-exec (Python's default), so that no child of anybody keeps the port.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

import psutil

from gearman_server.errors import StartError

#: How long a predecessor gets to leave the port.
PORT_IN_USE_PATIENCE_S: Final = 2.0
_PORT_IN_USE_RETRY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where to listen."""

    addresses: Sequence[str] = ("127.0.0.1",)
    port: int = 4730
    backlog: int = 32
    keepalive: bool = False


def open_sockets(settings: ListenSettings) -> list[socket.socket]:
    """One listening socket per address, a name may have several; with port 0 all of them get the same free one.

    Raises:
        StartError: an address can't be used or its port is taken.
    """
    opened: list[socket.socket] = []
    port = settings.port
    deadline = monotonic() + PORT_IN_USE_PATIENCE_S
    try:
        for address in settings.addresses:
            for family, where in _resolve(address, port):
                opened.append(_open_patiently(family, where, settings, deadline))
                port = port or opened[-1].getsockname()[1]
    except StartError:
        for listening in opened:
            listening.close()
        raise
    return opened


def describe_address(listening: socket.socket) -> str:
    """`127.0.0.1:4730` or `[::1]:4730`."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(address: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    host = address.strip("[]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as failure:
        raise StartError(
            f"can't listen on {address}: {failure.strerror or failure}; choose another with -L"
        ) from failure
    places = {(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found}
    return sorted(places)


def _open_patiently(
    family: socket.AddressFamily, where: tuple[str, int], settings: ListenSettings, deadline: float
) -> socket.socket:
    while True:
        try:
            return _open(family, where, settings)
        except OSError as failure:
            if failure.errno != errno.EADDRINUSE or monotonic() >= deadline:
                raise StartError(_explain(where, failure)) from failure
        sleep(_PORT_IN_USE_RETRY_S)


def _open(family: socket.AddressFamily, where: tuple[str, int], settings: ListenSettings) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.keepalive:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(settings.backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _explain(where: tuple[str, int], failure: OSError) -> str:
    host, port = where
    if failure.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by {_holder(port)}; stop that, or choose another port with -p PORT"
    if failure.errno == errno.EACCES:
        return f"port {port} on {host} needs more rights than this user has; choose one above 1023 with -p PORT"
    return f"can't listen on {host} port {port}: {failure.strerror}; choose another address with -L"


def _holder(port: int) -> str:
    """Who listens on the port, as far as this user may see."""
    try:
        for found in psutil.net_connections(kind="tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f"{psutil.Process(found.pid).name()}, pid {found.pid}"
    except (psutil.Error, OSError):
        pass
    return f"another process (this user, {os.geteuid()}, may not see which)"
