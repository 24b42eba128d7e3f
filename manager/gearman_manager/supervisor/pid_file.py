"""The file of `-P`: locked for as long as its manager lives, which tells it from a stale one for sure."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gearman_manager.errors import StartError

_MAX_PID_BYTES: Final = 32


class PidFile:
    """Written when it is made, by whoever starts the manager; removed, or emptied where it can't be, at the end."""

    def __init__(self, path: Path) -> None:
        """Raises StartError when it can't be written, or a living manager has it."""
        self._path = path.absolute()
        try:
            self._descriptor = self._open_locked()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise StartError(f"the pid file {path} can't be written: {error.strerror}; choose another one") from error

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._lock(descriptor)
            if self._is_named(descriptor):
                return descriptor
            os.close(descriptor)  # its owner has just removed it: there is a new one, or none

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, _MAX_PID_BYTES).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartError(
                f"the pid file {self._path} belongs to a manager that is running, pid {holder or 'not written yet'}; "
                "stop that, or choose another with -P FILE"
            ) from error

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """The manager has ended. Where root made it and another user ends, an empty one is left: it names nobody."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)
