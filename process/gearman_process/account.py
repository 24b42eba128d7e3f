"""The account that a process runs as: looked up by name or number, and taken on for good.

Only root can change the account, so files and sockets that need root must be opened first. The manager's `exec_wrapper`
repeats this in a few lines, because it runs as a script that can't import our packages.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

#: Variables that name folders and sockets of the user who has logged in. The manager's `exec_wrapper` has them too.
SESSION_VARIABLES: Final = (
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "MAIL",
)


@dataclass(frozen=True, slots=True)
class Account:
    """A user with its home, its group, and its supplementary groups."""

    name: str
    home: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of_user(cls, user: pwd.struct_passwd, gid: int | None = None) -> Account:
        """A user's account; `gid` replaces the user's own group."""
        own = user.pw_gid if gid is None else gid
        return cls(user.pw_name, user.pw_dir, user.pw_uid, own, tuple(os.getgrouplist(user.pw_name, own)))

    def take_on(self, environ: MutableMapping[str, str]) -> None:
        """Run this process, and all that it starts, as this account; for another user the environment says so too.

        Raises:
            OSError: the system refuses; a PermissionError if this process is not root's.
        """
        is_another = self.uid != os.getuid()
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
        if is_another:
            environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)
            for name in SESSION_VARIABLES:
                environ.pop(name, None)


def find_user(name: str) -> pwd.struct_passwd:
    """The user with that name or number.

    Raises:
        KeyError: there is none.
    """
    return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)


def find_gid(name: str) -> int:
    """The number of the group with that name; a number is returned unchanged.

    Raises:
        KeyError: there is none.
    """
    return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
