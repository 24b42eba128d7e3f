"""systemd, or whatever speaks its notification protocol (sd_notify(3)): told how we are. Elsewhere this does nothing.

Its variables are taken out of the environment: what we start must not speak in our name.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

_log = logging.getLogger("manager")


class ServiceManager:
    """What started us and listens on `$NOTIFY_SOCKET`, if anything does."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_ours = bool(self._address) and microseconds.isdecimal() and pid in ("", str(os.getpid()))
        #: It ends us when it has not heard of us for so long; None: it does not watch.
        self.patience_s = int(microseconds) / 1e6 if is_ours and int(microseconds) else None

    @property
    def listens(self) -> bool:
        """Somebody wants to be told."""
        return bool(self._address)

    def tell(self, **states: object) -> None:
        """Send these assignments as one message. It is not waited for."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in states.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.connect(address)
                told.send(message.encode("utf-8", "backslashreplace"))
        except OSError as error:
            _log.warning("the service manager can't be told %s: %s", next(iter(states)), error.strerror)
