"""Reads files that a configuration names. A named pipe or a terminal there keeps nobody waiting."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

_KINDS: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
#: Where a shell hands over a pipe, as for `-c <(make-config)`: somebody writes into it.
_HANDED_OVER: Final = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


def read_regular_file(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The first `max_bytes` bytes of a file.

    Raises:
        OSError: it can't be read, or is no regular file; `strerror` says so.
    """
    if os.fspath(path).startswith(_HANDED_OVER) or path == os.devnull:
        with open(path, "rb") as stream:
            return stream.read(max_bytes)
    # Without O_NONBLOCK the opening itself waits for somebody to write into a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if kind != stat.S_IFREG:
            raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(max_bytes)
    finally:
        os.close(descriptor)
