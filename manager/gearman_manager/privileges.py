"""Becoming the user that the configuration names, when root started the manager."""

import grp
import os
import pwd
from dataclasses import dataclass

from gearman_manager.config import Config
from gearman_manager.errors import StartError


@dataclass(frozen=True, slots=True)
class Account:
    """As whom to run."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def wanted_account(config: Config) -> Account | None:
    """The account that `user` and `group` name; None when neither is set.

    Raises:
        StartError: there is no such user or group.
    """
    if config.user is None and config.group is None:
        return None
    user = _user(config) if config.user is not None else pwd.getpwuid(os.getuid())
    gid = user.pw_gid if config.group is None else _gid(config)
    return Account(user.pw_uid, gid, tuple(os.getgrouplist(user.pw_name, gid)))


def become(account: Account | None) -> None:
    """Take the account on for good, in this process and in all that it starts.

    Raises:
        StartError: only root can, and this is somebody else.
    """
    if account is None or (account.uid, account.gid) == (os.getuid(), os.getgid()):
        return
    try:
        os.setgroups(account.groups)
        os.setgid(account.gid)
        os.setuid(account.uid)
    except PermissionError as error:
        raise StartError("only root can change the user: start it as root, or leave out `user` and `group`") from error
    os.environ["HOME"] = pwd.getpwuid(account.uid).pw_dir


def _user(config: Config) -> pwd.struct_passwd:
    name = str(config.user)
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError as error:
        raise StartError(f"{config.place('user')}: user: there is no user {name}") from error


def _gid(config: Config) -> int:
    name = str(config.group)
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise StartError(f"{config.place('group')}: group: there is no group {name}") from error
