"""Restores the state of a process after a job: working directory, standard output and standard error, signals.

A job may change the directory, close its output or replace it by another file. The worker's next job finds everything
as the worker's setup left it. Not for workers that run several jobs at once: these share the state.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from gearman_manager.ipc.child_log import STREAMS, open_stream, spare_copy
from gearman_manager.worker.bare_signals import getsignal
from gearman_manager.worker.signal_state import ALARM, STOP, SignalState

#: What takes a system call to notice is not checked after every job: they would be a noticeable part of the shortest.
LOOK_INTERVAL_NS: Final = 1_000_000


class ProcessState:
    """The state to which a process returns after each job."""

    def __init__(self) -> None:
        """Note the present state."""
        try:
            self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # the folder is gone, or may not be read
            self._folder = -1
        self._outputs = [(number, *_spare(number)) for _, number in STREAMS]
        self._signals = SignalState()
        self._on_stop, self._on_alarm = self._signals.on_stop, self._signals.on_alarm
        self._look_ns = 0

    def clear_up(self, now_ns: int) -> None:
        """Restore the state after a job."""
        if self._folder >= 0:
            try:
                os.fchdir(self._folder)
            except OSError:
                self._look_ns = 0  # nothing else can be done; and `suppress` costs five calls for every job
        if getsignal(STOP) is not self._on_stop or getsignal(ALARM) != self._on_alarm:
            self._signals.restore_all()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_INTERVAL_NS
            self._signals.restore_all()
            for number, spare, identity in self._outputs:
                if spare >= 0 and _identity(number) != identity:
                    os.dup2(spare, number, inheritable=True)
        try:
            if not sys.stdout.closed and not sys.stderr.closed:
                return
        except AttributeError:  # it is None, or something that is no stream
            pass
        for name, number in STREAMS:
            if getattr(getattr(sys, name, None), "closed", True):
                open_stream(name, number)


def _spare(number: int) -> tuple[int, tuple[int, int] | None]:
    """A second descriptor of the open file, and the file's identity."""
    try:
        return spare_copy(number), _identity(number)
    except OSError:
        return -1, None


def _identity(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
