"""The account that a process runs as: looked up by name or number, and taken on for good.

Only root can become somebody else; what has to be made or opened as root comes before. The manager's `exec_wrapper`
does the same in its own few lines: it runs as a script that can import nothing of ours.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A user, its group, and the further groups that it is in."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of_user(cls, user: pwd.struct_passwd, gid: int | None = None) -> Account:
        """A user's account, with another group than its own if that is given."""
        own = user.pw_gid if gid is None else gid
        return cls(user.pw_uid, own, tuple(os.getgrouplist(user.pw_name, own)))

    def take_on(self) -> None:
        """Become it, in this process and in all that it starts.

        Raises:
            OSError: the system refuses; a PermissionError where this is not root.
        """
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)


def find_user(name: str) -> pwd.struct_passwd:
    """The user of that name or number.

    Raises:
        KeyError: there is none.
    """
    return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)


def find_gid(name: str) -> int:
    """The number of the group of that name; a number is taken as it is.

    Raises:
        KeyError: there is none.
    """
    return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid


def home_of(uid: int) -> str:
    """The user's home; `/` for a number without a user."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
