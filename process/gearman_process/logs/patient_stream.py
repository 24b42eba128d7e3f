"""A stream for log lines that waits only briefly for a slow reader, such as a stopped terminal or a full pipe.

A process writes its log in the middle of its work, and a slow reader must not stop it.
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

#: How long a line waits for a slow reader. After one has waited in vain, none waits until a line gets through.
PATIENCE_S: Final = 0.1
#: The size that a pipe is given, if the system allows it.
PIPE_BYTES: Final = 1 << 20
#: The descriptor never blocks, is not inherited, and does not become the process's controlling terminal.
OPEN_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_ABOVE_STANDARD: Final = 3


class PatientStream:
    """Writes text to a descriptor, line by line."""

    def __init__(self, descriptor: int) -> None:
        """The stream owns the descriptor from now on."""
        self._descriptor = descriptor
        self._write_some = _writer(descriptor)
        self._is_behind = False
        self._is_torn = False
        with suppress(OSError):  # it is not a pipe, or this user may not have one of this size
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @classmethod
    def beside(cls, descriptor: int) -> PatientStream:
        """A stream that writes to the same place through a descriptor of its own.

        A pipe or a terminal is opened anew if that is allowed: its flags are shared with other processes.
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
        """Write a line. If the previous one was cut short, this one begins on a new line.

        Raises:
            OSError: the line was not taken in time, or only in part, or nobody reads any more.
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
        """Does nothing: no text is buffered."""

    def close(self) -> None:
        """Close the descriptor."""
        with suppress(OSError):
            os.close(self._descriptor)


def _writer(descriptor: int) -> Callable[[bytes], int]:
    """A function that writes as much as fits without waiting, or raises BlockingIOError."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connected = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connected.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISREG(mode) or not os.get_blocking(descriptor):
        return lambda data: os.write(descriptor, data)
    return lambda data: _write_if_room(descriptor, data)


def _write_if_room(descriptor: int, data: bytes) -> int:
    """For a descriptor that blocks: a pipe that polls as writable takes PIPE_BUF bytes."""
    if not _wait_writable(descriptor, 0.0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def _wait_writable(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))
