"""Undoes what a job may have changed in its process: working directory, standard output and standard error.

A job may change directory, close its output or put another file in its place. The next job of the worker finds
everything as the worker's setup left it. Not for workers that run several jobs at once: they share all this.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import Final

from gearman_manager.ipc.child_log import STREAMS, open_stream

#: Two system calls a job would be a noticeable part of the shortest ones, so these are not looked at after each.
LOOK_INTERVAL_NS: Final = 1_000_000
_SPARE_FROM: Final = 100  # out of the way of code that counts on small numbers


class ProcessState:
    """Noted once, put back after each job."""

    def __init__(self) -> None:
        """Note how it is now."""
        self._folder = -1
        with suppress(OSError):  # a folder that is gone, or may not be read
            self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._outputs = [(number, *_spare(number)) for _, number in STREAMS]
        self._looked_ns = 0

    def clear_up(self, now_ns: int) -> None:
        """A job is done."""
        if self._folder >= 0:
            with suppress(OSError):
                os.fchdir(self._folder)
        if now_ns >= self._looked_ns + LOOK_INTERVAL_NS:
            self._looked_ns = now_ns
            for number, spare, identity in self._outputs:
                if spare >= 0 and _identity(number) != identity:
                    os.dup2(spare, number, inheritable=True)
        for name, number in STREAMS:
            if getattr(getattr(sys, name, None), "closed", True):
                open_stream(name, number)


def _spare(number: int) -> tuple[int, tuple[int, int] | None]:
    """A second descriptor of the open file, and that file's identity."""
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _SPARE_FROM), _identity(number)
    except OSError:
        return -1, None


def _identity(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
