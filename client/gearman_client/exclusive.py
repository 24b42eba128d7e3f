"""Notices that an object which serves one caller at a time is used by two, or after a fork, which nobody would see."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

from gearman_client.errors import InUse

_AFTER_FORK: Final = "was made before a fork and belongs to the process that made it: make one in each process"


#: The number of forks between the first process and this one: much cheaper to read than a process id.
forks = 0


def _note_fork() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_note_fork)


class Exclusive:
    """Brackets each use of an object, by `begin` and `end` or as a context manager; `what` names the object."""

    __slots__ = ("_acquire", "_forks", "_what", "end")

    def __init__(self, what: str) -> None:
        lock = Lock()
        self._acquire = lock.acquire
        #: The use is over.
        self.end = lock.release
        self._forks = forks
        self._what = what

    def begin(self) -> None:
        """Begin a use.

        Raises:
            InUse: another use has not ended, or this is a child of the process that made the object.
        """
        if self._forks != forks:
            raise InUse(f"this {self._what} {_AFTER_FORK}")
        if not self._acquire(False):
            raise InUse(
                f"another thread, greenlet or signal handler is using this {self._what}, which serves one at a time: "
                "make one for each"
            )

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_after_fork(self) -> bool:
        """Whether this process is a child of the one that made the object."""
        return self._forks != forks
