"""The file of users: a line `NAME:ROLE:HASH` for each, made by `gearman-manager user`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gearman_manager.access.caller import ROLES, Role
from gearman_manager.errors import ManagerError
from gearman_process.regular_file import read_regular_file

MAX_FILE_BYTES: Final = 1 << 20
MAX_PASSWORD_CHARACTERS: Final = 1024
MIN_PASSWORD_CHARACTERS: Final = 8
_NAME: Final = re.compile(r"[\w.@+-]{1,100}")
#: What `generate_password_hash` makes: scrypt with its parameters, the salt, and the hash.
_HASH: Final = re.compile(r"scrypt:[0-9]{1,7}:[0-9]{1,2}:[0-9]{1,2}\$[A-Za-z0-9]+\$[0-9a-f]+")
_NO_PASSWORD: Final = "-"


class UsersError(ManagerError):
    """The file of users can't be used."""


@dataclass(frozen=True, slots=True)
class User:
    """One line of the file."""

    name: str
    role: Role
    #: `-`: the user has no password, and comes through a proxy.
    password_hash: str

    @property
    def has_password(self) -> bool:
        """Whether the user can log in here."""
        return self.password_hash != _NO_PASSWORD

    @property
    def line(self) -> str:
        """The line of the file, without its end."""
        return f"{self.name}:{self.role.word}:{self.password_hash}"


def make_user(name: str, role: Role, password: str) -> User:
    """A user with this password; empty: without one.

    Raises:
        UsersError: the name or the password can't be used.
    """
    if not _NAME.fullmatch(name):
        raise UsersError(f"{name!r} is no name of a user: letters, digits and . _ - + @ are allowed")
    if not password:
        return User(name, role, _NO_PASSWORD)
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise UsersError(f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters")
    from werkzeug.security import generate_password_hash  # no configuration needs it, and most managers have no users

    return User(name, role, generate_password_hash(password, method="scrypt"))


def read_users(path: str | os.PathLike[str]) -> Mapping[str, User]:
    """The users in a file, by name.

    Raises:
        UsersError: it can't be read, others may write into it, or a line is wrong; the text names the line.
    """
    try:
        content = read_regular_file(path, MAX_FILE_BYTES + 1)
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UsersError(f"it can't be read: {(error.strerror or '').lower()}") from error
    if mode & 0o002:
        raise UsersError("every user of this machine may write into it: chmod o-w")
    if len(content) > MAX_FILE_BYTES:
        raise UsersError(f"it is larger than {MAX_FILE_BYTES} bytes")
    users: dict[str, User] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            user = _parse(line.strip(), number)
            if user.name in users:
                raise UsersError(f"line {number}: {user.name} is there twice")
            users[user.name] = user
    return users


def write_user(path: Path, user: User) -> None:
    """Put a user into a file, in the place of one of the same name. Only its owner can read a new file.

    Raises:
        UsersError: the file is there and can't be used.
        OSError: it can't be written.
    """
    users = dict(read_users(path)) if path.exists() else {}
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")] if path.exists() else []
    users[user.name] = user
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in (*comments, *(each.line for each in users.values())))
        os.fchmod(file.fileno(), mode)
    fresh.replace(path)


def is_password_of(user: User | None, password: str) -> bool:
    """Whether it is the user's password. It takes tens of milliseconds and 32 MiB, for an unknown user too: else the
    time would tell who is known."""
    from werkzeug.security import check_password_hash

    known = user if user is not None and user.has_password else _NOBODY
    return check_password_hash(known.password_hash, password[:MAX_PASSWORD_CHARACTERS]) and known is user


def _parse(line: str, number: int) -> User:
    name, _, rest = line.partition(":")
    role, _, password_hash = rest.partition(":")
    if not _NAME.fullmatch(name) or role not in ROLES:
        expected = f"NAME:ROLE:HASH is expected, as `gearman-manager user` prints it; roles are {', '.join(ROLES)}"
        raise UsersError(f"line {number}: {expected}")
    if password_hash != _NO_PASSWORD and not _HASH.fullmatch(password_hash):
        raise UsersError(f"line {number}: this is no hash of a password: `gearman-manager user {name}` prints one")
    return User(name, ROLES[role], password_hash)


#: The hash of a password that nobody knows.
_NOBODY: Final = User("", Role.VIEWER, "scrypt:32768:8:1$BQMEwsQJ2yYjWQxO$" + "0" * 128)
