"""A stream for log lines that waits for a slow reader only so long: a terminal that is stopped, a full pipe.

A process writes its log in the middle of its work; a reader that is behind must not stop it.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

#: How long the first line waits for a reader that is behind. After that, none waits until one gets through.
PATIENCE_S: Final = 0.1
#: A pipe is made to hold this much, where the system allows it.
PIPE_BYTES: Final = 1 << 20
#: For a descriptor that never blocks, is not inherited, and does not become the process's terminal.
OPEN_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_ABOVE_STANDARD: Final = 3


class PatientStream:
    """Text goes to a descriptor, line by line."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor belongs to the stream from now on."""
        self._descriptor = descriptor
        self._write_some = _writer(descriptor)
        self._is_behind = False
        self._is_torn = False
        with suppress(OSError):  # it is no pipe, or more than this user may have
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @classmethod
    def beside(cls, descriptor: int) -> PatientStream:
        """Writes to the same place by a descriptor of its own.

        A pipe or a terminal is opened anew where that is allowed: its flags are shared with other processes.
        """
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with suppress(OSError):
                return cls(os.open(f"/proc/self/fd/{descriptor}", OPEN_FLAGS))
        return cls(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD))

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Write a line. After one that was cut short, the next begins on a line of its own.

        Raises:
            OSError: it was not taken in time, or only a part of it; or nobody reads any more.
        """
        data = text.encode("utf-8", "backslashreplace")
        if self._is_torn:
            data = b"\n" + data
        deadline = time.monotonic() + (0.0 if self._is_behind else PATIENCE_S)
        while data:
            written = self._try(data)
            self._is_torn = written < len(data) and (written > 0 or self._is_torn)
            data = data[written:]
            left_s = deadline - time.monotonic()
            if data and not written and (left_s <= 0 or not _wait_writable(self._descriptor, left_s)):
                self._is_behind = True
                raise TimeoutError("nobody read them in time")
        self._is_behind = False
        return len(text)

    def _try(self, data: bytes) -> int:
        try:
            return self._write_some(data)
        except BlockingIOError:
            return 0

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Give the descriptor back."""
        with suppress(OSError):
            os.close(self._descriptor)


def _writer(descriptor: int) -> Callable[[bytes], int]:
    """Writes as much as goes in without waiting, or raises BlockingIOError."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connected = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connected.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISREG(mode) or not os.get_blocking(descriptor):
        return lambda data: os.write(descriptor, data)
    return lambda data: _write_if_room(descriptor, data)


def _write_if_room(descriptor: int, data: bytes) -> int:
    """For a descriptor that blocks: a pipe that polls writable takes this much."""
    if not _wait_writable(descriptor, 0.0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def _wait_writable(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))
