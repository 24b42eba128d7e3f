"""The pid file: locked for as long as its server lives, so that a stale one is told from a living one's for sure."""

from __future__ import annotations

import fcntl
import os

from gearman_server.errors import StartError
from gearman_server.log import logger


class PidFile:
    """Written when it is made, removed by `remove`."""

    def __init__(self, path: str) -> None:
        """Raises StartError when it can't be written, or a living server has it."""
        self._path = os.path.abspath(path)
        try:
            self._descriptor = self._open_locked()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise StartError(
                f"the pid file {path} can't be written: {error.strerror}; choose another with -P FILE"
            ) from error

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
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartError(
                f"the pid file {self._path} belongs to a server that is running, pid {holder}; "
                "stop that, or choose another with -P FILE"
            ) from error

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """The server has ended."""
        try:
            os.unlink(self._path)
        except OSError as error:
            logger.warning("the pid file %s can't be removed: %s", self._path, error.strerror)
        os.close(self._descriptor)
