"""The account that a process runs as: looked up by name or number, and taken on for good.

Only root can change the account, so files and sockets that need root must be opened first. The manager's `exec_wrapper`
repeats this in a few lines, because it runs as a script that can't import our packages.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A user, its group, and its supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of_user(cls, user: pwd.struct_passwd, gid: int | None = None) -> Account:
        """A user's account; `gid` replaces the user's own group."""
        own = user.pw_gid if gid is None else gid
        return cls(user.pw_uid, own, tuple(os.getgrouplist(user.pw_name, own)))

    def take_on(self) -> None:
        """Run this process, and all that it starts, as this account.

        Raises:
            OSError: the system refuses; a PermissionError if this process is not root's.
        """
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)


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


def home_of(uid: int) -> str:
    """The user's home folder; `/` for a number without a user."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
