"""Gives up root's rights, once the ports are taken and the certificates read."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable

from gearman_process.account import Account
from gearman_server.edge.unix_sockets import UNIX_PREFIX
from gearman_server.errors import StartError


def find_user(name: str) -> pwd.struct_passwd:
    """The user to become.

    Raises:
        StartError: there is no user with that name, or this process may not become it.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise StartError(f"-u {name}: there is no such user; create it, or name another") from error
    if os.geteuid() not in (0, user.pw_uid):
        raise StartError(f"-u {name} needs root; start the server as root, or as {name} without -u")
    return user


def become(user: pwd.struct_passwd, addresses: Iterable[str]) -> None:
    """Run as that user from now on. The files of Unix sockets become the user's, who removes them at the end.

    Raises:
        StartError: the system refuses.
    """
    if os.geteuid() == user.pw_uid:
        return
    try:
        for address in addresses:
            if address.startswith(UNIX_PREFIX):
                path = address.removeprefix(UNIX_PREFIX)
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)  # its folder may be another user's
        Account.of_user(user).take_on(os.environ)
    except OSError as error:
        raise StartError(f"-u {user.pw_name}: the system refuses: {error.strerror}") from error
