"""Sockets that the service manager has opened for this process (sd_listen_fds(3)); without such a manager, none."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from gearman_process.errors import SocketError

_FIRST_DESCRIPTOR: Final = 3


def inherited_sockets(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The sockets with their names; a name can be empty. The variables are removed from the environment.

    Raises:
        SocketError: one of them is not a listening stream socket.
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    names += [""] * int(count)
    return [(names[index], listening_socket(_FIRST_DESCRIPTOR + index)) for index in range(int(count))]


def listening_socket(descriptor: int) -> socket.socket:
    """The listening socket that this process has inherited with this number; its children do not.

    Raises:
        SocketError: it is none.
    """
    try:
        os.set_inheritable(descriptor, False)
        listening = socket.socket(fileno=descriptor)
        if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and listening.type == socket.SOCK_STREAM:
            return listening
    except OSError as error:
        raise SocketError(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from error
    raise SocketError(f"LISTEN_FDS: descriptor {descriptor} is no listening stream socket; use ListenStream=")
