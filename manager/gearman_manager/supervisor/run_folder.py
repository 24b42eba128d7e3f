"""The run folder: pid file, lock and control socket of one manager. Private to its user."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from gearman_manager.access import session_file
from gearman_manager.errors import StartError
from gearman_manager.finished import keeper as finished_jobs
from gearman_manager.history import history_file
from gearman_manager.job_servers import policies_file

_PID_FILE: Final = "gearman-manager.pid"
_SOCKET: Final = "control.sock"
_SPAN_SOCKET: Final = "spans.sock"
_LOCK: Final = "lock"
_OWN: Final = (
    frozenset(
        {
            _PID_FILE,
            _SOCKET,
            _SPAN_SOCKET,
            _LOCK,
        }
    )
    | session_file.FILE_NAMES
    | history_file.FILE_NAMES
    | finished_jobs.FILE_NAMES
)
_FLAGS: Final = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
#: sun_path of unix(7), less its zero byte.
_MAX_SOCKET_PATH_BYTES: Final = 107


def default_run_folder(config_file: Path, uid: int | None = None) -> Path:
    """`$XDG_RUNTIME_DIR` or the temporary folder, then one folder for each user and configuration file.

    If the configuration names a user it is always the temporary folder: the variable is that of the calling user.
    """
    base = (os.environ.get("XDG_RUNTIME_DIR") if uid is None else None) or tempfile.gettempdir()
    digest = hashlib.blake2b(str(config_file.resolve()).encode(), digest_size=8).hexdigest()
    return Path(base) / f"gearman-manager-{os.getuid() if uid is None else uid}" / digest


class RunFolder:
    """The folder in which a running manager can be found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.path / _SOCKET

    @property
    def span_socket(self) -> Path:
        """The socket on which workers bring their spans, if these are wanted."""
        return self.path / _SPAN_SOCKET

    @property
    def session_file(self) -> Path:
        """The key of sessions; it stays for the next manager here."""
        return self.path / session_file.FILE_NAME

    @property
    def history_file(self) -> Path:
        """What has happened; it stays for the next manager here."""
        return self.path / history_file.FILE_NAME

    @property
    def finished_file(self) -> Path:
        """The file of finished jobs."""
        return self.path / finished_jobs.FILE_NAME

    @property
    def pid_file(self) -> Path:
        """Decimal process number and a line feed."""
        return self.path / _PID_FILE

    def read_pid(self) -> int | None:
        """The manager's process number according to its pid file, None without one."""
        try:
            return int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None

    def check_length(self) -> None:
        """Refuse a path that is too long for a socket.

        Raises:
            StartError: it is.
        """
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH_BYTES:
            remedy = "set run_dir in the configuration, or XDG_RUNTIME_DIR, to a shorter path"
            raise StartError(f"the run folder {self.path} is too long for a socket in it; {remedy}")

    def acquire(self) -> None:
        """Make the folder and lock it for this manager alone, until the process ends.

        Raises:
            StartError: it can't be made, belongs to another user, or another manager holds it.
        """
        self.check_length()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._refuse_planted_link()
            self.path.mkdir(exist_ok=True, mode=0o700)
            self._refuse_strangers()
            self._make_private()
            self._lock = os.open(self.path / _LOCK, _FLAGS | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(os.open(self.pid_file, _FLAGS | os.O_WRONLY | os.O_TRUNC, 0o644), "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except BlockingIOError as error:
            holder = self.read_pid()
            raise StartError(
                f"another manager (pid {holder or 'not written yet'}) holds {self.path}; "
                "stop it with `gearman-manager -c FILE stop`, or give this one a run_dir of its own"
            ) from error
        except OSError as error:
            raise StartError(f"run_dir {self.path} can't be used: {error.strerror}; choose another run_dir") from error

    @property
    def _is_in_temporary_folder(self) -> bool:
        """Whether it is a default folder where everybody may make files."""
        return self.path.parent.parent == Path(tempfile.gettempdir())

    def _refuse_planted_link(self) -> None:
        if self._is_in_temporary_folder and self.path.parent.is_symlink():
            raise StartError(f"the run folder {self.path.parent} is a link: remove it, or choose another run_dir")

    def _refuse_strangers(self) -> None:
        """Refuse a folder that another user owns, or could replace because it lies in the temporary folder.

        Raises:
            StartError: the folder, or the one around it in the temporary folder, belongs to another user.
        """
        own = os.getuid()
        trusted = {self.path: {own}}
        if self._is_in_temporary_folder:
            trusted[self.path.parent] = {own, 0}
        for folder, owners in trusted.items():
            found = {folder.stat().st_uid} - owners or {folder.lstat().st_uid} - {own, 0}
            if found:
                raise StartError(
                    f"the run folder {folder} belongs to another user (uid {found.pop()}, this is {own}): "
                    "give it to this one with chown, or choose another run_dir"
                )

    def _make_private(self) -> None:
        """Close the folder to others, unless it is more than a run folder, whose mode is not ours to change.

        Raises:
            StartError: others could put files into it, or it is a link to a folder that is open to others.
        """
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mode = stat.S_IMODE(os.fstat(folder).st_mode)
            if not mode & _OTHERS:
                return
            if self.path.is_symlink():
                raise StartError(
                    f"run_dir {self.path} is a link to a folder that other users may enter (mode {mode:o}): "
                    "close that with chmod 700, or name a folder of its own"
                )
            if all(name in _OWN or policies_file.is_file_name(name) for name in os.listdir(folder)):
                os.fchmod(folder, 0o700)
            elif mode & _OTHERS_WRITE:
                raise StartError(
                    f"run_dir {self.path} holds other files, and other users may write there (mode {mode:o}): "
                    "name a folder of its own"
                )
        finally:
            os.close(folder)

    def release(self) -> None:
        """Unlock the folder and remove its files, except the lock file."""
        with suppress(OSError):
            policies = [file for file in self.path.iterdir() if policies_file.is_file_name(file.name)]
            for file in (self.pid_file, self.socket, *policies):
                with suppress(OSError):
                    file.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
