"""Reports the process's state to systemd, or to another service manager with its protocol (sd_notify(3)).

Without a service manager this does nothing. The variables are removed from the environment, because programs that the
process starts must not speak in its name.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

#: Called with the first assignment of an unsent message, such as `READY=1`, and the reason.
Unheard = Callable[[str, str], None]


class ServiceManager:
    """The program that started this process and listens on `$NOTIFY_SOCKET`, if there is one."""

    def __init__(self, environ: MutableMapping[str, str], on_unheard: Unheard) -> None:
        self._on_unheard = on_unheard
        self._address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watching = bool(self._address) and microseconds.isdecimal() and pid in ("", str(os.getpid()))
        #: It ends the process after so long without a message; None: it does not watch.
        self.patience_s = int(microseconds) / 1e6 if is_watching and int(microseconds) else None

    @property
    def is_listening(self) -> bool:
        """Whether there is one that wants messages."""
        return bool(self._address)

    def tell(self, **states: object) -> None:
        """Send these assignments as one message, such as `tell(READY=1)`, without waiting."""
        if not self._address:
            return
        lines = [f"{name}={value}" for name, value in states.items()]
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.connect(address)
                told.send("\n".join(lines).encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._on_unheard(lines[0], error.strerror or str(error))

    def tell_reloading(self) -> None:
        """Report that the configuration is being read again; the protocol requires the time."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
