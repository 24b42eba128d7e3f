"""Listening Unix sockets, bound with their mode. A dead server's file is replaced, a living one's never."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

from gearman_server.errors import StartError, StartFailure
from gearman_server.log import logger

UNIX_PREFIX: Final = "unix:"

#: A predecessor that hangs and doesn't answer must not make this start hang.
_PROBE_TIMEOUT_S: Final = 1.0


def open_unix_socket(path: str, mode: int, backlog: int) -> socket.socket:
    """A listening Unix socket at `path`. The file has `mode` before any peer can connect.

    Raises:
        StartError: the path can't be used, or another server listens there.
    """
    _make_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)  # no chmod later: another user's folder could have a link in its place by then
    try:
        listening.bind(path)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        text = f"can't listen on unix:{path}: {error.strerror or error}; choose another path with -L unix:PATH"
        raise StartError(text, StartFailure.CANT_LISTEN) from error
    finally:
        os.umask(before)
    return listening


def remove_socket_file(path: str) -> None:
    """Remove the file of a closed listening socket, unless a successor already listens there."""
    try:
        if _is_socket(path) and not _is_served(path):
            os.unlink(path)
    except OSError as error:
        logger.warning("the socket file %s can't be removed: %s", path, error.strerror)


def _make_room(path: str) -> None:
    try:
        if not _is_socket(path):
            return  # there is nothing, or something that bind will refuse to replace
        if _is_served(path):
            raise StartError(
                f"another server listens on unix:{path}; stop that, or choose another path with -L unix:PATH"
            )
        os.unlink(path)
    except OSError as error:
        raise StartError(
            f"the old socket file {path} can't be replaced: {error.strerror}; remove it, or choose another path"
        ) from error


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
