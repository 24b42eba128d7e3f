"""Wakes when a child ended, so that orphans that we adopted do not stay as zombies.

As process 1 of a container, or as child subreaper, the manager inherits what workers and programs leave behind. It
never knew these processes, so no pidfd tells of their end: only SIGCHLD does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from gearman_manager.host.process import a_child_has_ended
from gearman_manager.logs.uncaught import watch_readable

#: A module that leaves thousands of processes behind costs at most so many looks a second.
INTERVAL_S: Final = 0.05


class OrphanReaper:
    """Has them reaped, soon after they ended."""

    def __init__(self, loop: Any, reap: Callable[[], None]) -> None:
        """`reap` collects all zombies that nobody else waits for."""
        self._loop = loop
        self._reap = reap
        self._timer: Any = None
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watcher = watch_readable(loop, self._read_end, self._noticed)
        # Python's own handler only writes into the pipe. The loop's would reap, and lose what it learns.
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def close(self) -> None:
        """Look no more."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self._watcher.stop()
        self._watcher.close()
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        os.close(self._read_end)
        os.close(self._write_end)

    def _noticed(self) -> None:
        os.read(self._read_end, 4096)
        self._look_soon()

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.timer(INTERVAL_S)
            self._timer.start(self._look)

    def _look(self) -> None:
        self._timer.close()
        self._timer = None
        self._reap()
        if a_child_has_ended():  # one that somebody is about to wait for: others may be behind it
            self._look_soon()
