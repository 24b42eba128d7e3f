"""The system's log. Datagrams are sent to it without waiting: a log that hangs must not block the process."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

ADDRESS: Final = "/dev/log"
_DAEMON: Final = 3 << 3


class SystemLog:
    """A connection to the system's log."""

    def __init__(self, program: str, address: str = ADDRESS) -> None:
        """`program` is the name before each line. Raises OSError when there is no system log."""
        self._program = program
        self._address = address
        self._socket = self._connect()

    def send(self, severity: int, text: str) -> bool:
        """Send a line, with a severity of syslog(3) from 0 (emergency) to 7 (debug).

        Returns whether the system's log took it. One that it does not take at once is lost.
        """
        line = f"<{_DAEMON | severity}>{self._program}[{os.getpid()}]: {text}".encode("utf-8", "backslashreplace")
        try:
            self._socket.send(line)
        except BlockingIOError:
            return False
        except OSError:  # the log was restarted: a new socket has the old name
            with suppress(OSError):
                self._socket.close()
                self._socket = self._connect()
                self._socket.send(line)
                return True
            return False
        return True

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            connected.setblocking(False)
            connected.connect(self._address)
        except OSError:
            connected.close()
            raise
        return connected

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
