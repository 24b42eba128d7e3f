"""systemd: sockets that it has opened for us, and telling it how we are. Elsewhere all of this does nothing."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

from gearman_server.edge.ports import PURPOSES
from gearman_server.errors import StartError
from gearman_server.log import logger

_FIRST_DESCRIPTOR: Final = 3


def inherited_sockets() -> dict[str, list[socket.socket]]:
    """The sockets that this process was started with, by purpose: a `FileDescriptorName` of `tls`, `http` or `metrics`
    says which, any other name means jobs. The environment that told of them is cleared.

    Raises:
        StartError: one of them is no listening stream socket.
    """
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdigit() or pid != str(os.getpid()):
        return {}
    found: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) else ""
        purpose = name if name in PURPOSES else "jobs"
        found.setdefault(purpose, []).append(_listening(_FIRST_DESCRIPTOR + index))
    return found


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        listening = socket.socket(fileno=descriptor)
        if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and listening.type == socket.SOCK_STREAM:
            return listening
    except OSError as error:
        raise StartError(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from error
    raise StartError(f"LISTEN_FDS: descriptor {descriptor} is no listening stream socket; use ListenStream=")


def watchdog_interval_s() -> float | None:
    """How often the service manager is to hear `WATCHDOG=1`: twice in the time after which it ends us. None: never."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    is_ours = microseconds.isdecimal() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
    return int(microseconds) / 2e6 if is_ours else None


def notify(state: str) -> None:
    """Tell the service manager: `READY=1`, `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1`. It is not waited for."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.setblocking(False)
            told.connect("\0" + address[1:] if address.startswith("@") else address)
            told.send(state.encode())
    except OSError as error:
        logger.warning("the service manager can't be told %s: %s", state.partition("\n")[0], error.strerror)
