"""Opens a log file: with a mode that keeps strangers out, and as root never through a link that somebody else made."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from gearman_process.logs.patient_stream import OPEN_FLAGS

#: Of a new file; the umask can take more away.
MODE: Final = 0o640


def open_log(path: str, earlier_mode: int | None = None) -> int:
    """A descriptor that appends to the file, which is made if it is missing.

    Args:
        path: of the file; a device or a pipe will do.
        earlier_mode: the mode of the file that a rotation moved away; a new one gets it too.

    Raises:
        OSError: it can't be opened.
    """
    try:
        made = os.open(path, OPEN_FLAGS | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        _refuse_planted_link(path)
        return os.open(path, OPEN_FLAGS | os.O_CREAT, MODE)
    if earlier_mode is not None:
        os.fchmod(made, earlier_mode)
    return made


def mode_of(descriptor: int) -> int | None:
    """The permissions of a regular file; None for anything else."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_IMODE(mode) if stat.S_ISREG(mode) else None


def _refuse_planted_link(path: str) -> None:
    """As root, refuse a link of another user: the log's lines would go into a file that this user chose."""
    status = os.lstat(path)
    if os.geteuid() == 0 and stat.S_ISLNK(status.st_mode) and status.st_uid != 0:
        raise OSError(errno.ELOOP, f"it is a link that user {status.st_uid} made", path)
