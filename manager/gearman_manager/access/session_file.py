"""The key that signs sessions, and the sessions that were ended before their time, in a file of the run folder.

So a session outlives a restart of the manager, and its end does too. Only the manager's user can read the file; without
it, or if it makes no sense, there is a new key, and everybody logs in again.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any, Final

_log = logging.getLogger("control")
FILE_NAME: Final = "sessions.json"
_FRESH: Final = FILE_NAME + ".new"
FILE_NAMES: Final = frozenset({FILE_NAME, _FRESH})
_KEY_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1 << 18
#: More than these are forgotten, those first that would have ended soonest.
MOST_ENDED: Final = 2000


class SessionFile:
    """The file, read when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: str = ""
        self._ended: dict[str, float] = {}

    @property
    def key(self) -> str:
        """The key that signs."""
        if not self._key:
            self._read()
        return self._key

    def end(self, session: str, until: float) -> None:
        """A session is over, which would have been valid until then (seconds since 1970)."""
        now = time.time()
        _ = self.key
        self._ended = {each: moment for each, moment in self._ended.items() if moment > now}
        self._ended[session] = until
        while len(self._ended) > MOST_ENDED:
            del self._ended[min(self._ended, key=self._ended.__getitem__)]
        self._write()

    def has_ended(self, session: str) -> bool:
        """Whether it was ended."""
        return session in self._ended

    def _read(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                is_private = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
                content: Any = json.loads(file.read(_MAX_FILE_BYTES)) if is_private else None
            key, ended = content["key"], content["ended"]
            if not isinstance(key, str) or len(key) != 2 * _KEY_BYTES:
                raise ValueError
            self._key, self._ended = key, {str(name): float(moment) for name, moment in ended.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._key, self._ended = secrets.token_hex(_KEY_BYTES), {}
            self._write()

    def _write(self) -> None:
        fresh = self._path.with_name(_FRESH)
        try:
            fresh.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(fresh, flags, 0o600), "w", encoding="ascii") as file:
                json.dump({"key": self._key, "ended": self._ended}, file)
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("%s can't be written: after a restart everybody logs in again: %s", self._path, error.strerror)
