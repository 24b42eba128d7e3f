"""Notices that an object which serves one caller at a time is used by two, or after a fork, which nobody would see."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

from gearman_client.errors import InUse

_AFTER_FORK: Final = "was made before a fork and belongs to the process that made it: make one in each process"


class Exclusive:
    """A context manager around each use of an object; `what` names the object.

    Raises (on entry):
        InUse: another use has not ended, or this is a child of the process that made the object.
    """

    __slots__ = ("_acquire", "_pid", "_release", "_what")

    def __init__(self, what: str) -> None:
        lock = Lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._pid = os.getpid()
        self._what = what

    def __enter__(self) -> None:
        if os.getpid() != self._pid:
            raise InUse(f"this {self._what} {_AFTER_FORK}")
        if not self._acquire(False):
            raise InUse(
                f"another thread, greenlet or signal handler is using this {self._what}, which serves one at a time: "
                "make one for each"
            )

    def __exit__(self, *_: object) -> None:
        self._release()

    @property
    def is_after_fork(self) -> bool:
        """Whether this process is a child of the one that made the object."""
        return os.getpid() != self._pid
