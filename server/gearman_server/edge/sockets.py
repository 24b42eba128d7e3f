"""Opens listening sockets: resolves addresses, and waits for a port that is taken, but not for long.

Every descriptor is close-on-exec (Python's default), so that no child process keeps the port.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from time import monotonic
from typing import Final

import gevent
import psutil

from gearman_server.edge.settings import KeepaliveSettings, ListenSettings
from gearman_server.edge.unix_sockets import UNIX_PREFIX, open_unix_socket, remove_socket_file
from gearman_server.errors import StartError, StartFailure

#: How long a predecessor may take to leave the port.
PORT_IN_USE_PATIENCE_S: Final = 2.0
_PORT_IN_USE_RETRY_S: Final = 0.05
_MAX_PORT: Final = 65535


def open_sockets(settings: ListenSettings) -> list[socket.socket]:
    """One listening socket per address; a name may have several. With port 0, all of them get the same free port.

    Raises:
        StartError: an address can't be used or its port is taken.
    """
    opened: list[socket.socket] = []
    port = settings.port
    deadline = monotonic() + PORT_IN_USE_PATIENCE_S
    try:
        for address in settings.addresses:
            if address.startswith(UNIX_PREFIX):
                path = address.removeprefix(UNIX_PREFIX)
                opened.append(open_unix_socket(path, settings.socket_mode, settings.backlog))
                continue
            host, own_port = split_address(address)
            for family, where in _resolve(host, port if own_port is None else own_port, settings.address_option):
                opened.append(_open_patiently(family, where, settings, deadline))
                if own_port is None:
                    port = port or opened[-1].getsockname()[1]
    except StartError:
        close_sockets(opened, [describe_address(listening) for listening in opened])
        raise
    return opened


def close_sockets(sockets: Iterable[socket.socket], addresses: Iterable[str]) -> None:
    """Close the sockets of `open_sockets` that are still open, and remove the files of its Unix sockets."""
    for listening in sockets:
        listening.close()
    for address in addresses:
        if address.startswith(UNIX_PREFIX):
            remove_socket_file(address.removeprefix(UNIX_PREFIX))


def describe_address(listening: socket.socket) -> str:
    """`127.0.0.1:4730`, `[::1]:4730` or `unix:/run/gearman.sock`."""
    if listening.family == socket.AF_UNIX:
        return f"{UNIX_PREFIX}{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_reachable_from_elsewhere(listening: socket.socket) -> bool:
    """Whether other machines can connect to it."""
    if listening.family == socket.AF_UNIX:
        return False
    return not ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def split_address(address: str) -> tuple[str, int | None]:
    """Host and port; the port is None if the address has none. Several colons without brackets are an IPv6 address.

    Raises:
        StartError: the text after the colon is no port.
    """
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        colon, digits = rest[:1], rest[1:]
    elif address.count(":") == 1:
        host, colon, digits = address.partition(":")
    else:
        host, colon, digits = address, "", ""
    if not colon:
        return host, None
    if not digits.isascii() or not digits.isdigit() or int(digits) > _MAX_PORT:
        text = f"can't listen on {address}: {digits!r} is no port; write HOST:PORT, PORT up to {_MAX_PORT}"
        raise StartError(text, StartFailure.CANT_LISTEN)
    return host, int(digits)


def _resolve(host: str, port: int, option: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        text = f"can't listen on {host}: {getattr(error, 'strerror', None) or error}; choose another with {option}"
        raise StartError(text, StartFailure.CANT_LISTEN, option) from error
    places = {(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found}
    return sorted(places)


def _open_patiently(
    family: socket.AddressFamily, where: tuple[str, int], settings: ListenSettings, deadline: float
) -> socket.socket:
    while True:
        try:
            return _open(family, where, settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or monotonic() >= deadline:
                raise _explained(where, error, settings) from error
        gevent.sleep(_PORT_IN_USE_RETRY_S)


def _open(family: socket.AddressFamily, where: tuple[str, int], settings: ListenSettings) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_keepalive(listening, settings.keepalive)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(settings.backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _set_keepalive(listening: socket.socket, keepalive: KeepaliveSettings) -> None:
    """Set the values once, on the listening socket: accepted connections inherit them."""
    if keepalive.on_listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, figure in (
        ("TCP_KEEPIDLE", keepalive.idle_s),
        ("TCP_KEEPINTVL", keepalive.interval_s),
        ("TCP_KEEPCNT", keepalive.count),
    ):
        if figure is not None and hasattr(socket, name):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), figure)


def _explained(where: tuple[str, int], error: OSError, settings: ListenSettings) -> StartError:
    host, port = where
    by_port, by_address = settings.port_option, settings.address_option
    if error.errno == errno.EADDRINUSE:
        text = f"port {port} on {host} is taken by {_holder(port)}; stop that, or choose another port with {by_port}"
        return StartError(text, StartFailure.ADDRESS_TAKEN, by_port)
    if error.errno == errno.EACCES:
        text = f"port {port} on {host} needs more rights than this user has; choose one above 1023 with {by_port}"
        return StartError(text, StartFailure.NEEDS_RIGHTS, by_port)
    text = f"can't listen on {host} port {port}: {error.strerror}; choose another address with {by_address}"
    return StartError(text, StartFailure.CANT_LISTEN, by_address)


def _holder(port: int) -> str:
    """The process that listens on the port, as far as this user may see."""
    try:
        for found in psutil.net_connections(kind="tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f"{psutil.Process(found.pid).name()}, pid {found.pid}"
    except (psutil.Error, OSError):
        pass
    return f"another process (this user, {os.geteuid()}, may not see which)"
