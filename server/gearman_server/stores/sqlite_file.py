"""The file of a SQLite store: made for its owner alone, locked by what it is, and looked at before each commit counts.

SQLite goes on writing a file that was deleted, moved or replaced under it, without an error, and the next start would
find none of that. So every commit is preceded and followed by a look. A file or a log that was deleted is made anew
from what SQLite still has open; every other change has to be undone by a person.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import struct
import sys
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import unquote, urlsplit

from gearman_server.errors import StartError, StoreError
from gearman_server.stores.sqlite import obstacle_of

#: A byte that SQLite never locks. A lock of the open file description is not released when another descriptor of the
#: file is closed, and it is seen by every process, whatever name it has used.
_LOCKED_BYTE: Final = 1 << 62
_WRITE_LOCK: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
#: Where the header of a database holds `user_version`, which is this owner's mark.
_MARK_AT, _MARK_BYTES = 60, 4

#: A commit looks at everything if the last full look is older than this.
_FULL_LOOK_EVERY_S: Final = 0.05
#: More than a batch can take, whatever else fills the disk meanwhile.
_LARGE_ROOM_BYTES: Final = 1 << 30

#: Device and number of a file.
Identity = tuple[int, int]

#: The files that servers of this process own. Another descriptor of one of them must not be closed: that would release
#: the locks of SQLite in this process.
_owned: Final[set[Identity]] = set()


class SqliteFile:
    """The file, from before SQLite opens it until the server gives it up."""

    def __init__(self, name: str) -> None:
        """`name` is the one in the URL; it may be SQLite's own kind of URL, `file:…`."""
        plain = unquote(urlsplit(name).path) if name.startswith("file:") else name
        self._name = os.path.abspath(plain)
        #: The file itself: SQLite follows links, and keeps its log beside the file.
        self.path = Path(os.path.realpath(plain))
        self._log_folder = str(self.path.parent)
        #: Where the name is, and where the file is if that is a link: mostly the same.
        self._folders = tuple({os.path.dirname(self._name), self._log_folder})
        self._lock_path = self._beside("-owner")
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._identity: Identity | None = None
        self._log: Identity | None = None
        #: The descriptor of a deleted file that was made anew.
        self._former: int | None = None
        #: What may be in the header; None: not known yet.
        self._marks: set[bytes] | None = None
        #: The time of the last full look (monotonic seconds), and what it saw.
        self._looked_at = float("-inf")
        self._last_seen: tuple[int, ...] = ()
        self._room_bytes, self._room_read_at = 0, 0.0

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    # --- ownership

    def open(self) -> None:
        """Open the file, before SQLite does; a new one can be read by this user alone.

        Raises:
            StartError: it has several names.
        """
        with contextlib.suppress(OSError):  # SQLite will say what is wrong
            self._open()

    def _open(self) -> bool:
        """False: a server of this process owns the file."""
        with contextlib.suppress(FileNotFoundError):
            if _identity_of(os.stat(self.path)) in _owned:
                return False
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._descriptor).st_nlink > 1 and not self._lock_path.exists():
            raise StartError(
                f"the store {self.path} has other names (hard links), and was not used by this one: SQLite keeps"
                " what it has not yet moved into the file beside the name that it was given; use that name, or"
                " remove the others"
            )
        return True

    def own(self) -> bool:
        """Become the only owner of the file, by whatever name others call it. False: there is another one."""
        if self._lock is not None:
            return True
        if self._descriptor is None and not self._open():
            return False
        assert self._descriptor is not None
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if sys.platform == "linux":
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _WRITE_LOCK)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        self._identity = _identity_of(os.fstat(self._descriptor))
        _owned.add(self._identity)
        return True

    def disown(self) -> None:
        """Give the file up. SQLite has closed it."""
        if self._identity is not None:
            _owned.discard(self._identity)
            self._identity = None
        for descriptor in (self._descriptor, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._lock = None

    # --- looks

    def mark(self, connection: sqlite3.Connection) -> None:
        """Write this owner's mark into the header, so that a copy of another file over this one is noticed."""
        if self._descriptor is None:
            return
        mark = secrets.randbits(31)
        connection.execute(f"PRAGMA user_version={mark}").close()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        found = os.pread(self._descriptor, _MARK_BYTES, _MARK_AT)  # an old one, if others read the file just now
        self._marks = {found, mark.to_bytes(_MARK_BYTES)}

    def check(self, *, is_brief: bool = False) -> None:
        """Check that the file in use is the one that the next start would open.

        Each system call costs a commit as much as the interpreter's lock, which the server's loop holds meanwhile. So a
        brief look is only whether the file or its folder has changed, if the last full look was a moment ago.

        Raises:
            StoreError: it is not, and why.
        """
        if self._identity is None or self._descriptor is None:
            return
        now, seen = monotonic(), self._seen()
        if is_brief and seen and seen == self._last_seen and now < self._looked_at + _FULL_LOOK_EVERY_S:
            return
        self._last_seen = seen
        trouble = self._trouble(self._descriptor)
        if trouble is not None:
            raise StoreError(trouble)
        self._looked_at = now

    def _seen(self) -> tuple[int, ...]:
        """What changes when the file is written by others, deleted, moved or replaced, or its log is. SQLite itself
        writes the file seldom. The file by its descriptor, because a look at a path takes more than twice as long."""
        if self._descriptor is None:
            return ()
        try:
            folders = [os.stat(folder) for folder in self._folders]
        except OSError:
            return ()
        file = os.fstat(self._descriptor)
        seen = [file.st_nlink, file.st_mtime_ns]
        for folder in folders:
            seen += (folder.st_dev, folder.st_ino, folder.st_mtime_ns)
        return tuple(seen)

    def room(self) -> int:
        """The room on the file's disk that is left for its user, in bytes. As long as it is large, it is read anew only
        now and then."""
        now = monotonic()
        if self._room_bytes < _LARGE_ROOM_BYTES or now > self._room_read_at + _FULL_LOOK_EVERY_S:
            disk = os.statvfs(self._log_folder)
            self._room_bytes, self._room_read_at = disk.f_bavail * disk.f_frsize, now
        return self._room_bytes

    def _trouble(self, descriptor: int) -> str | None:
        try:
            found = _identity_of(os.stat(self._name))
        except OSError:
            if os.fstat(descriptor).st_nlink == 0:
                return f"{self._name} was deleted: {obstacle_of(self.path) or 'it is made anew from the open file'}"
            return f"{self._name} was moved away, or its folder: move it back"
        if found != self._identity:
            return f"{self._name} is another file now: move that away, and move the one of this server back"
        if not self._has_mark(descriptor):
            return f"{self._name} was overwritten while in use: stop this server before you put a file there"
        return None if self._is_log_there() else f"{self._beside('-wal')} was deleted or replaced while in use"

    def _has_mark(self, descriptor: int) -> bool:
        return self._marks is None or os.pread(descriptor, _MARK_BYTES, _MARK_AT) in self._marks

    def _is_log_there(self) -> bool:
        try:
            found = _identity_of(os.stat(self._beside("-wal")))
        except OSError:
            return self._log is None
        if self._log is None:
            self._log = found
        return found == self._log

    # --- repairs

    def repair(self, connection: sqlite3.Connection) -> bool:
        """Make a file, or a log, anew that was deleted. True: then the connection has to be closed, and `finish_repair`
        called.

        Raises:
            StoreError: there is no room for it, or no folder.
        """
        descriptor = self._descriptor
        try:
            if descriptor is None or self._identity is None:
                return False
            if not os.path.lexists(self._name):
                if os.fstat(descriptor).st_nlink == 0:
                    self._copy(connection)
                    return True
            elif _identity_of(os.stat(self._name)) == self._identity and self._has_mark(descriptor):
                is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return not is_busy
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._name} was deleted, and can't be made anew: {error}") from error
        return False

    def _copy(self, connection: sqlite3.Connection) -> None:
        copy = self._beside("-copy")
        descriptor = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
                connection.backup(target)
            if sys.platform == "linux":
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WRITE_LOCK)
            os.fsync(descriptor)
            os.link(copy, self.path)  # it replaces no file that has come meanwhile
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            copy.unlink()
        self._adopt(descriptor)

    def _adopt(self, descriptor: int) -> None:
        """Go over to a new file, which is in its place and locked."""
        if self._identity is not None:
            _owned.discard(self._identity)
        self._identity = _identity_of(os.fstat(descriptor))
        _owned.add(self._identity)
        self._marks = {os.pread(descriptor, _MARK_BYTES, _MARK_AT)}
        self._former, self._descriptor = self._descriptor, descriptor

    def finish_repair(self) -> None:
        """SQLite has closed the former file."""
        self._log = None
        if self._former is not None:
            for suffix in ("-wal", "-shm"):
                self._beside(suffix).unlink(missing_ok=True)
            os.close(self._former)
            self._former = None


def _identity_of(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
