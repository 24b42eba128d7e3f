"""Changes to the user that the configuration names, when root started the manager.

Before that, root makes the files that this user could not make, below /var/log and /run.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

from gearman_manager.config import Config, ConfigError
from gearman_manager.errors import StartError
from gearman_process.account import Account, find_gid, find_user


def wanted_account(config: Config) -> Account | None:
    """The account that `user` and `group` name; None when neither is set.

    Raises:
        ConfigError: there is no such user or group.
    """
    if config.user is None and config.group is None:
        return None
    user = _user(config) if config.user is not None else pwd.getpwuid(os.getuid())
    return Account.of_user(user, None if config.group is None else _gid(config))


def become(account: Account | None) -> None:
    """Take the account on for good, in this process with its environment, and in all that it starts.

    Raises:
        StartError: only root can, and this is another user.
    """
    if account is None or (account.uid, account.gid) == (os.getuid(), os.getgid()):
        return
    try:
        account.take_on(os.environ)
    except PermissionError as error:
        raise StartError("only root can change the user: start it as root, or leave out `user` and `group`") from error


def prepare_paths(config: Config, account: Account | None) -> None:
    """Make the log file and the run folder if they don't exist, owned by the account. Existing ones are left alone.

    A path that can't be made is no error here: the part that opens it reports one.
    """
    if account is None or os.getuid() != 0:
        return
    if config.log.file is not None:
        with suppress(OSError):
            # Never through a link, and never an existing file: its folder may belong to that user.
            log = os.open(config.log.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            os.fchown(log, account.uid, account.gid)
            os.close(log)
    if config.run_dir is not None:
        with suppress(OSError):
            Path(config.run_dir).parent.mkdir(parents=True, exist_ok=True)
            os.mkdir(config.run_dir, 0o700)
            os.chown(config.run_dir, account.uid, account.gid, follow_symlinks=False)


def _user(config: Config) -> pwd.struct_passwd:
    try:
        return find_user(str(config.user))
    except KeyError as error:
        message = f"there is no user {config.user}: create it, or correct the name"
        raise ConfigError([config.places.problem("user", message)]) from error


def _gid(config: Config) -> int:
    try:
        return find_gid(str(config.group))
    except KeyError as error:
        message = f"there is no group {config.group}: create it, or correct the name"
        raise ConfigError([config.places.problem("group", message)]) from error
