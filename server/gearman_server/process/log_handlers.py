"""Where log lines go: files, pipes, terminals and the system's log, none of which can stop the server.

A line that can't be written in a short time is dropped and counted; the count is told once lines can be written again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from typing import Final

#: How long the first line waits for a reader that is behind. After that, lines are dropped until one gets through.
PATIENCE_S: Final = 0.1
#: A pipe is made to hold this much, where the system allows it.
PIPE_BYTES: Final = 1 << 20

_OPEN_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SYSLOG_ADDRESS: Final = "/dev/log"
_SYSLOG_DAEMON: Final = 3 << 3


class LineHandler(logging.Handler):
    """Writes lines to a descriptor without ever waiting long."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._write = _writer(descriptor)
        self._dropped = 0
        self._is_torn = False
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @classmethod
    def to_stderr(cls) -> LineHandler:
        """Standard error. A pipe or a terminal is opened anew, because its flags are shared with other processes."""
        mode = os.fstat(2).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with contextlib.suppress(OSError):
                return cls(os.open("/proc/self/fd/2", _OPEN_FLAGS))
        return cls(fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        if self._dropped:
            count = logging.LogRecord(record.name, logging.WARNING, "", 0, _DROPPED, (self._dropped,), None)
            if not self._try(count, patience_s=0.0):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._try(record, PATIENCE_S):
            self._dropped += 1

    def _try(self, record: logging.LogRecord, patience_s: float) -> bool:
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - a line that can't be formatted must not end what was being logged
            line = f"{record.levelname} {record.msg!r} {record.args!r}\n"
        data = (b"\n" if self._is_torn else b"") + line.encode("utf-8", "backslashreplace")
        deadline = time.monotonic() + patience_s
        while True:
            try:
                written = self._write(data)
            except BlockingIOError:
                written = 0
            except OSError:
                return False
            data = data[written:]
            self._is_torn = bool(data) and (written > 0 or self._is_torn)
            if not data:
                return True
            if not _wait_writable(self._descriptor, deadline - time.monotonic()):
                return False

    def close(self) -> None:
        """Give the descriptor back."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        super().close()


_DROPPED: Final = "%d log lines were dropped: nobody read them in time"


class FileHandler(LineHandler):
    """A log file that is opened anew, by name, when it was rotated away."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it can't be opened."""
        self.path = os.path.abspath(path)
        super().__init__(os.open(self.path, _OPEN_FLAGS | os.O_CREAT, 0o666))

    def reopen(self) -> None:
        """Go on in the file that has the name now.

        Raises:
            OSError: it can't be opened; the old one goes on.
        """
        opened = os.open(self.path, _OPEN_FLAGS | os.O_CREAT, 0o666)
        try:
            os.dup2(opened, self._descriptor, inheritable=False)
        finally:
            os.close(opened)


class SyslogHandler(logging.Handler):
    """The system's log, by datagrams that are not waited for."""

    def __init__(self, address: str = _SYSLOG_ADDRESS) -> None:
        """Raises OSError when there is no system log."""
        super().__init__()
        self._address = address
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; what the system's log does not take at once is lost."""
        priority = _SYSLOG_DAEMON | _severity(record.levelno)
        data = f"<{priority}>gearman-server[{os.getpid()}]: {record.getMessage()}".encode("utf-8", "backslashreplace")
        try:
            self._socket.send(data)
        except BlockingIOError:
            pass
        except OSError:
            # It was restarted: a new socket has the old name.
            with contextlib.suppress(OSError):
                self._socket.close()
                self._socket = self._connect()
                self._socket.send(data)

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connected.setblocking(False)
            connected.connect(self._address)
        except OSError:
            connected.close()
            raise
        return connected

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        super().close()


def _writer(descriptor: int) -> Callable[[bytes], int]:
    """What writes as much as goes in without waiting, and raises BlockingIOError when nothing does."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        connected = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connected.send(data, socket.MSG_DONTWAIT)
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK or stat.S_ISREG(os.fstat(descriptor).st_mode):
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


def _severity(level: int) -> int:
    """Syslog's, of a level of ours."""
    for lowest, severity in ((70, 0), (60, 1), (50, 2), (40, 3), (30, 4), (25, 5), (20, 6)):
        if level >= lowest:
            return severity
    return 7
