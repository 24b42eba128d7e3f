"""A pid file, locked while its process lives: the lock tells a living process's file from a stale one."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from gearman_process.errors import PidFileError

_MAX_PID_BYTES: Final = 32
#: Never through a link, and without waiting for a pipe: the folder may belong to another user.
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class PidFile:
    """Written and locked when it is made; `remove` removes it, or empties it if it can't be removed."""

    def __init__(self, path: str | Path, *, owner: str, remedy: str) -> None:
        """Make the file, or take over a stale one.

        Args:
            path: may be relative.
            owner: a word for the program, such as `server`.
            remedy: advice for the error message if the file can't be written.

        Raises:
            PidFileError: it can't be written, a living process has it, or it may be a trap: a link, no regular file, a
                file with several names or, for root, one of another user. Nothing was changed then.
        """
        #: The absolute path.
        self.path = Path(path).absolute()
        self._owner = owner
        try:
            self._descriptor = self._open_locked()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            reason = "it is a symbolic link" if os.path.islink(path) else error.strerror
            raise PidFileError(f"the pid file {path} can't be written: {reason}; {remedy}") from error

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self.path, _FLAGS, 0o644)
            self._refuse_trap(descriptor)
            self._lock(descriptor)
            if self._is_named(descriptor):
                return descriptor
            os.close(descriptor)  # its owner has just removed it: there is a new one, or none

    def _refuse_trap(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        reason = ""
        if not stat.S_ISREG(status.st_mode):
            reason = "is no regular file"
        elif status.st_nlink > 1:
            reason = "is a file with another name, too"
        elif os.geteuid() == 0 and status.st_uid != 0:
            reason = f"belongs to user {status.st_uid}, who could put another number into it"
        if reason:
            os.close(descriptor)
            raise PidFileError(f"the pid file {self.path} {reason}: remove it, or choose another with -P FILE")

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
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
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
