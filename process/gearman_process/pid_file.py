"""A pid file, locked while its process lives: the lock tells a living process's file from a stale one."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gearman_process.errors import PidFileError

_MAX_PID_BYTES: Final = 32


class PidFile:
    """Written and locked when it is made; `remove` removes it, or empties it if it can't be removed."""

    def __init__(self, path: str | Path, *, owner: str, remedy: str) -> None:
        """Make the file, or take over a stale one.

        Args:
            path: may be relative.
            owner: a word for the program, such as `server`.
            remedy: advice for the error message if the file can't be written.

        Raises:
            PidFileError: it can't be written, or a living process has it.
        """
        #: The absolute path.
        self.path = Path(path).absolute()
        self._owner = owner
        try:
            self._descriptor = self._open_locked()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise PidFileError(f"the pid file {path} can't be written: {error.strerror}; {remedy}") from error

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
            raise PidFileError(
                f"the pid file {self.path} belongs to a {self._owner} that is running, "
                f"pid {holder or 'not written yet'}; stop that, or choose another with -P FILE"
            ) from error

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file at the process's end. If root made it and another user can't remove it, it stays, empty.

        Raises:
            OSError: it can't be removed.
        """
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        try:
            os.unlink(self.path)
        finally:
            os.close(self._descriptor)
